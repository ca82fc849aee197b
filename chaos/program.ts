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
