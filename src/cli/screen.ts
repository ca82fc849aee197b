/** A terminal that one text is drawn on again and again. */
export interface Terminal {
  columns?: number;
  rows?: number;
  write(text: string): unknown;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

const ESCAPE = '\u001b[';
/** The screen that programs use which leave the other one as it was; no cursor. */
const ENTER = `${ESCAPE}?1049h${ESCAPE}?25l`;
const LEAVE = `${ESCAPE}?25h${ESCAPE}?1049l`;
const HOME = `${ESCAPE}H`;
const ERASE_REST_OF_LINE = `${ESCAPE}K`;
const ERASE_BELOW = `${ESCAPE}J`;
const RESET = `${ESCAPE}0m`;

/**
 * The alternate screen. Each text is drawn over the one before, in one write and without erasing
 * first, so nothing flickers; what does not fit is cut, never wrapped, and counted on the last
 * line. After a change of size the text is drawn anew.
 */
export class Screen {
  readonly #terminal: Terminal;
  readonly #onResize = (): void => this.#draw();
  #text = '';

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    terminal.on('resize', this.#onResize);
    terminal.write(ENTER);
  }

  show(text: string): void {
    this.#text = text;
    this.#draw();
  }

  /** Back to the screen that was there before. */
  end(): void {
    this.#terminal.off('resize', this.#onResize);
    this.#terminal.write(LEAVE);
  }

  #draw(): void {
    // A terminal that does not know its size says 0.
    const columns = (this.#terminal.columns || 80) - 1; // the last one would wrap on some
    const rows = this.#terminal.rows || 24;
    const lines = this.#text.trimEnd().split('\n');
    const shown = lines.length <= rows ? lines : lines.slice(0, Math.max(0, rows - 1));
    const hidden = lines.length - shown.length;
    if (hidden > 0) shown.push(`... ${hidden} more lines`);
    const drawn = shown.map((line) => `${cut(line, columns)}${ERASE_REST_OF_LINE}`);
    this.#terminal.write(`${HOME}${drawn.join('\r\n')}${ERASE_BELOW}`);
  }
}

/** The first `columns` characters that are seen; colour codes take no room and stay whole. */
export function cut(line: string, columns: number): string {
  let seen = 0;
  let text = '';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes begin with one
  for (const part of line.split(/(\u001b\[[0-9;]*m)/)) {
    if (part.startsWith(ESCAPE)) text += part;
    else {
      const room = [...part].slice(0, columns - seen).join('');
      seen += [...room].length;
      text += room;
    }
  }
  return text.includes(ESCAPE) ? `${text}${RESET}` : text;
}
