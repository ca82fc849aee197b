/**
 * Waits for something, and no longer than so many milliseconds. The work itself goes on, and may
 * fail without harm.
 *
 * @param late what is answered, or thrown, when it came too late
 */
export async function inTime<T, L>(ms: number, work: Promise<T>, late: () => L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    return await Promise.race([work, over.then(late)]);
  } finally {
    clearTimeout(timer);
  }
}

/** The same for what may fail. @returns null when it failed or came too late */
export function within<T>(ms: number, work: Promise<T>): Promise<T | null> {
  return inTime(
    ms,
    work.catch(() => null),
    () => null,
  );
}
