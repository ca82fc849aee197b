import pc from 'picocolors';
import type { CheckLevel, CheckResult, DoctorReport } from '../operator/doctor/report.js';

const LEVELS: readonly CheckLevel[] = ['ok', 'warn', 'fail', 'skipped'];

/** The report as people read it: one line per check, then how many of each there were. */
export function renderDoctor(report: DoctorReport, options: { color: boolean }): string {
  const colors = pc.createColors(options.color);
  const paint = {
    ok: colors.green,
    warn: colors.yellow,
    fail: colors.red,
    skipped: colors.dim,
  };
  const widthOf = (cell: (result: CheckResult) => string): number =>
    Math.max(0, ...report.checks.map((result) => cell(result).length));
  const [level, check, subject] = [
    widthOf((result) => result.level),
    widthOf((result) => result.check),
    widthOf((result) => result.subject),
  ];
  const lines = report.checks.map((result) => {
    const head = [
      // Padding first: colour codes have no width on the screen, but a length in the text.
      paint[result.level](result.level.padEnd(level)),
      result.check.padEnd(check),
      result.subject.padEnd(subject),
    ].join('  ');
    const hint = result.hint === null ? '' : `: ${colors.cyan(result.hint)}`;
    return `${head}  ${result.message}${hint}`;
  });
  const counts = LEVELS.map((name) => ({
    name,
    number: report.checks.filter((result) => result.level === name).length,
  })).filter(({ number }) => number > 0);
  const summary = counts.map(({ name, number }) => paint[name](`${number} ${name}`)).join(', ');
  return `${lines.join('\n')}\n\n${summary}\n`;
}
