/** Often enough to be seen moving, seldom enough to cost nothing. */
const SHOW_EVERY_MS = 100;

export interface Progress {
  /** So much more is done. */
  add(amount: number): void;
  /** Takes the line away. */
  done(): void;
}

/**
 * A line that counts up to 100 % on a terminal; elsewhere nothing.
 *
 * @param total 0: not known, then only the label is shown
 */
export function progress(stream: NodeJS.WriteStream, label: string, total: number): Progress {
  let amount = 0;
  let shownAt = Number.NEGATIVE_INFINITY;
  let shown = false;
  return {
    add(more) {
      amount += more;
      const now = performance.now();
      if (stream.isTTY !== true || now < shownAt + SHOW_EVERY_MS) return;
      shownAt = now;
      shown = true;
      const percent = total > 0 ? ` ${Math.min(100, Math.floor((100 * amount) / total))} %` : '';
      stream.write(`\r\x1b[K${label}${percent}`);
    },
    done() {
      if (shown) stream.write('\r\x1b[K');
      shown = false;
    },
  };
}
