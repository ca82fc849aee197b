import { setTimeout as sleep } from 'node:timers/promises';

/** Where looks are shown, one after the other. */
export interface View<Look> {
  show(look: Look): void;
  /** A look that failed; the next one comes all the same. */
  trouble(error: unknown): void;
  /** Leaves the terminal as it was. */
  end(): void;
}

/**
 * Looks again and again, an interval from the beginning of one look to that of the next, until the
 * signal ends it or the view's reader has gone. Only the first look may fail it.
 */
export async function watch<Look>(
  look: () => Promise<Look>,
  openView: () => View<Look>,
  { intervalMs, signal }: { intervalMs: number; signal: AbortSignal },
): Promise<void> {
  // A wrong configuration is said as always, and not on a screen that vanishes.
  let begun = performance.now();
  let found = await look();
  if (signal.aborted) return;
  const view = openView();
  try {
    view.show(found);
    for (;;) {
      const pauseMs = Math.max(0, begun + intervalMs - performance.now());
      await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      begun = performance.now();
      try {
        found = await look();
        if (!signal.aborted) view.show(found);
      } catch (error) {
        if (!signal.aborted) view.trouble(error);
      }
    }
  } finally {
    view.end();
  }
}

/** q, Ctrl-C, Ctrl-D: while keys are read one by one they are no signals. */
const END_KEYS: ReadonlySet<string> = new Set(['q', 'Q', '\u0003', '\u0004']);

/** Aborts at SIGINT, SIGTERM, `q` or Ctrl-C on a terminal, and when nobody reads any more. */
export function stopSignal(
  input: NodeJS.ReadStream,
  output: NodeJS.WriteStream,
): { signal: AbortSignal; release(): void } {
  const stop = new AbortController();
  const abort = (): void => stop.abort();
  const onKey = (keys: Buffer): void => {
    if ([...keys.toString('latin1')].some((key) => END_KEYS.has(key))) abort();
  };
  const isKeyboard = input.isTTY === true && output.isTTY === true;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, abort);
  output.on('error', abort).on('close', abort);
  if (isKeyboard) input.setRawMode(true).on('data', onKey).resume();
  return {
    signal: stop.signal,
    release() {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, abort);
      output.off('error', abort).off('close', abort);
      if (isKeyboard) input.off('data', onKey).setRawMode(false).pause();
    },
  };
}
