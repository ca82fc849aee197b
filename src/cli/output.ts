/** Larger: more memory. Smaller: a write for each line. */
const CHUNK_CHARS = 64 * 1024;

/**
 * Writes what may be very much, as fast as its reader takes it, and no faster. A reader that has
 * gone (`| head`) ends it quietly.
 */
export async function writeAll(
  stream: NodeJS.WriteStream,
  texts: AsyncIterable<string>,
): Promise<void> {
  let gone = false;
  const onGone = (): void => {
    gone = true;
  };
  stream.once('close', onGone).once('error', onGone);
  let chunk = '';
  for await (const text of texts) {
    chunk += text;
    if (chunk.length < CHUNK_CHARS) continue;
    await write(stream, chunk);
    chunk = '';
    if (gone) return;
  }
  await write(stream, chunk);
  stream.off('close', onGone).off('error', onGone);
}

/** Resolves when the text has been taken, or never will be. */
function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve) => stream.write(text, () => resolve()));
}
