/** Rows under headings; the first column is text, the others are figures. */
export interface Table {
  title?: string;
  heads: readonly string[];
  rows: readonly (readonly string[])[];
}

/** For the terminal: columns in line. */
export function plain(table: Table): string {
  const lines = [table.heads, ...table.rows];
  const widths = table.heads.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  const text = lines.map((line) =>
    line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))),
  );
  return [...(table.title === undefined ? [] : [table.title]), ...text.map((l) => l.join('  '))]
    .map((line) => line.trimEnd())
    .join('\n');
}

/** For the report. */
export function markdown(table: Table): string {
  const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    ...(table.title === undefined ? [] : [`**${table.title}**`, '']),
    row(table.heads),
    row(table.heads.map((_, i) => (i === 0 ? '---' : '---:'))),
    ...table.rows.map(row),
  ].join('\n');
}
