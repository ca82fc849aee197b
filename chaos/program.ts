/** Wrong words on the command line; the message says what would be right. */
export class UsageError extends Error {}

/** Node's own complaints about options, as UsageError. */
export function asUsage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

/** @throws UsageError */
export function wholeNumber(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new UsageError(`--${name} is a whole number from ${min} to ${max}`);
}

/** Runs a program to its end. Exit code 0: all is well; 1: it is not, or an error; 2: wrong words. */
export async function runProgram(
  name: string,
  usage: string,
  run: (args: readonly string[]) => Promise<boolean>,
): Promise<void> {
  try {
    process.exitCode = (await run(process.argv.slice(2))) ? 0 : 1;
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`${name}: ${error.message}\n${usage}`);
      process.exitCode = 2;
    } else {
      process.stderr.write(`${name}: ${error instanceof Error ? error.stack : String(error)}\n`);
      process.exitCode = 1;
    }
  }
}

const PARENT_LOOK_MS = 1_000;

/** Signals end at once, and everything with us: the `exit` of the household tidies up. */
export function endWithParent(): void {
  process.on('SIGINT', () => process.exit(130));
  process.on('SIGTERM', () => process.exit(143));
  process.on('SIGHUP', () => process.exit(129));
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) process.exit(143);
  }, PARENT_LOOK_MS).unref();
}
