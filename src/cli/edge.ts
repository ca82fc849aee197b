import pc from 'picocolors';
import { asError, FerryError } from '../common/errors.js';
import { maskUrls } from '../common/maskUrls.js';

/** 2: the user has to change what was written; 1: it was right, and did not work. */
export function exitCodeOf(error: unknown): 1 | 2 {
  return error instanceof FerryError && error.kind === 'usage' ? 2 : 1;
}

/** The last word on an error: what happened, and what to do. */
export function printError(error: unknown): void {
  process.stderr.write(formatError(error, process.stderr.isTTY === true));
}

/** `ferry: message` and `hint: ...`; a stack only for what is a bug of ours. */
export function formatError(error: unknown, color: boolean): string {
  const { red, cyan } = pc.createColors(color && pc.isColorSupported);
  const expected = error instanceof FerryError && error.kind !== 'internal';
  const value = asError(error);
  const text = maskUrls(expected ? value.message : (value.stack ?? value.message));
  const hint = error instanceof FerryError ? error.hint : undefined;
  return `${red('ferry:')} ${text}\n${hint === undefined ? '' : `${cyan('hint:')} ${hint}\n`}`;
}
