import { appendFile, readdir, readFile, truncate, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../common/errors.js';

/** What the archive knows of a batch; a line of its index, as JSON. */
export interface ArchivedBatch {
  readonly sequence: number;
  readonly stream: string;
  readonly bytes: number;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
  /** Chain of digests up to this batch; see `spool/chain.ts`. '' when it is not known. */
  readonly chain: string;
  readonly sealedAtMs: number;
  readonly archivedAtMs: number;
  /** Bytes that were ever put under this index's pruning, this batch included. */
  readonly total: number;
  /** Its file is there because the operator gave the batch up: never pruned. */
  readonly kept: boolean;
}

/** Lines per file of the index: what is read at once, and what goes away at once. */
export const INDEX_LINES = 1_024;

const INDEX_NAME = /^index-(\d{10})\.log$/;

/** The files of the index of `dir`, oldest first, by the sequence of their first line. */
export async function indexFiles(dir: string): Promise<string[]> {
  const names = await readdir(dir).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  });
  return names.filter((name) => INDEX_NAME.test(name)).sort();
}

export interface IndexLines {
  lines: ArchivedBatch[];
  /** Bytes of whole lines; what follows was torn by a crash. */
  end: number;
  torn: boolean;
}

/** Reads one file of the index, up to the first line that is not whole. */
export async function readIndexFile(path: string): Promise<IndexLines> {
  const content = await readFile(path);
  const lines: ArchivedBatch[] = [];
  let end = 0;
  for (let at = content.indexOf('\n'); at >= 0; at = content.indexOf('\n', end)) {
    const line = parsed(content.toString('utf8', end, at));
    if (line === null) break;
    lines.push(line);
    end = at + 1;
  }
  return { lines, end, torn: end < content.length };
}

function parsed(text: string): ArchivedBatch | null {
  try {
    const line = JSON.parse(text) as ArchivedBatch;
    return typeof line.sequence === 'number' ? line : null;
  } catch {
    return null;
  }
}

/** The line of one batch; null: there is none (any more). */
export async function findArchived(dir: string, sequence: number): Promise<ArchivedBatch | null> {
  const file = (await indexFiles(dir)).findLast(
    (name) => Number(INDEX_NAME.exec(name)?.[1]) <= sequence,
  );
  if (file === undefined) return null;
  const { lines } = await readIndexFile(join(dir, file));
  return lines.find((line) => line.sequence === sequence) ?? null;
}

/** The end of the index that is written to, ready for more. */
export class IndexWriter {
  private constructor(
    private readonly dir: string,
    private file: string | null,
    private lines: ArchivedBatch[],
  ) {}

  /** Cuts off what a crash has torn. */
  static async open(dir: string): Promise<IndexWriter> {
    for (const file of (await indexFiles(dir)).reverse()) {
      const { lines, end, torn } = await readIndexFile(join(dir, file));
      if (torn) await truncate(join(dir, file), end);
      if (lines.length > 0) return new IndexWriter(dir, file, lines);
      await unlink(join(dir, file));
    }
    return new IndexWriter(dir, null, []);
  }

  get last(): ArchivedBatch | undefined {
    return this.lines.at(-1);
  }

  /** Name of the file that is written to. */
  get current(): string | null {
    return this.file;
  }

  /** Not synced. */
  async append(lines: readonly ArchivedBatch[]): Promise<void> {
    const [first] = lines;
    if (first === undefined) return;
    if (this.file === null || this.lines.length >= INDEX_LINES) {
      this.file = `index-${String(first.sequence).padStart(10, '0')}.log`;
      this.lines = [];
    }
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
    await appendFile(join(this.dir, this.file), text, { mode: 0o600 });
    this.lines.push(...lines);
  }
}
