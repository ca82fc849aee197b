import { constants } from 'node:fs';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import { FerryError } from '../common/errors.js';
import type { FileSystem } from '../common/fileSystem.js';
import type { OpenFile } from '../common/openFile.js';
import { writeFully } from './writing.js';

const READ_BYTES = 1024 * 1024;
/** Doubled until a whole line is found. */
const LAST_READ_BYTES = 64 * 1024;
const NEWLINE = 0x0a;
const CRC_DIGITS = 8;
/** Records in a line that is made again. */
const MENDED_PER_LINE = 256;

/**
 * An append-only file of records, readable with `less`. One line is one group of records that
 * were accepted together, or a part of it:
 *
 *     <CRC-32 of the JSON, 8 hex digits> <JSON array of records>\n
 *
 * What is written with `write` is durable before the next line is begun, so that a crash leaves at
 * most the last line torn; a torn line was never promised to anybody and is cut off. What is whole
 * is made durable at open. A bad line with a good one behind it is damage to what was promised:
 * refused, not repaired.
 *
 * What is written with `append` is durable elsewhere until `settle` has made it so here. A power cut
 * may leave any of it; `beginning` and `mend` put it right before `open`.
 */
export class RecordLog<R> {
  readonly #path: string;
  readonly #handle: OpenFile;
  /** Where the next line begins. */
  #size: number;
  #broken: unknown = null;
  /** Lines at the end that are not durable here. */
  #unsettled: Buffer[] = [];
  /** A sync has failed: the kernel may have dropped these lines, and hold them for written. */
  #spoiled = false;

  private constructor(path: string, handle: OpenFile, size: number) {
    this.#path = path;
    this.#handle = handle;
    this.#size = size;
  }

  /**
   * @param onRecord called for every durable record, in order
   * @throws FerryError INDEX_DAMAGED
   */
  static async open<R>(
    path: string,
    fs: FileSystem,
    onRecord: (record: R) => void,
  ): Promise<RecordLog<R>> {
    const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      let size = 0;
      for await (const { records, end } of readFrames<R>(handle, path)) {
        for (const record of records) onRecord(record);
        size = end;
      }
      if ((await handle.stat()).size !== size) await handle.truncate(size);
      // The last line may be that of a receiver that was killed before its sync: only the page
      // cache has it then, and from now on repeats are answered because of it.
      await handle.sync();
      await fs.syncDirectory(dirname(path));
      return new RecordLog(path, handle, size);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Reads the durable records of a log that may be open; a torn tail is left alone. */
  static async scan<R>(path: string, fs: FileSystem, onRecord: (r: R) => void): Promise<void> {
    for await (const { records } of RecordLog.read<R>(path, fs)) {
      for (const record of records) onRecord(record);
    }
  }

  /**
   * The same, some hundred records at a time; `end` is the offset behind them.
   * @throws FerryError INDEX_DAMAGED
   */
  static async *read<R>(path: string, fs: FileSystem): AsyncGenerator<RecordsRead<R>> {
    const handle = await fs.open(path, constants.O_RDONLY);
    try {
      yield* readFrames<R>(handle, path);
    } finally {
      await handle.close();
    }
  }

  /**
   * Reads the records up to the first line that is none; there need be no such file.
   * @returns where they end, and the number of the last good record behind that, 0 for none
   */
  static async beginning<R extends { number: number }>(
    path: string,
    fs: FileSystem,
    onRecord: (record: R) => void,
  ): Promise<{ end: number; numberBehind: number }> {
    const found = { end: 0, numberBehind: 0 };
    const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      let torn = false;
      for await (const lines of readLines<R>(handle)) {
        for (const { records, end } of lines) {
          if (records === null) torn = true;
          else if (torn) found.numberBehind = records.at(-1)?.number ?? 0;
          else {
            for (const record of records) onRecord(record);
            found.end = end;
          }
        }
      }
    } finally {
      await handle.close();
    }
    return found;
  }

  /** Cuts a log off at `end`, adds these records, and makes all of it durable, but for its name. */
  static async mend<R>(
    path: string,
    fs: FileSystem,
    end: number,
    records: readonly R[],
  ): Promise<void> {
    const handle = await fs.open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
    try {
      if ((await handle.stat()).size !== end) await handle.truncate(end);
      const lines: Buffer[] = [];
      for (let at = 0; at < records.length; at += MENDED_PER_LINE) {
        lines.push(lineOf(JSON.stringify(records.slice(at, at + MENDED_PER_LINE))));
      }
      await writeFully(handle, [Buffer.concat(lines)], end);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  /** The last durable record, read from the end; null: there is none. Whole as `scan` is. */
  static async last<R>(path: string, fs: FileSystem): Promise<R | null> {
    const handle = await fs.open(path, constants.O_RDONLY);
    try {
      const { size } = await handle.stat();
      for (let bytes = LAST_READ_BYTES; ; bytes *= 2) {
        const from = Math.max(0, size - bytes);
        const tail = Buffer.alloc(size - from);
        await handle.read(tail, 0, tail.length, from);
        const record = lastIn<R>(tail);
        if (record !== null || from === 0) return record;
      }
    } finally {
      await handle.close();
    }
  }

  get path(): string {
    return this.#path;
  }

  /**
   * Makes the records durable, all or none. Calls must not overlap: one at a time. After a failure
   * the file is as before; if even that fails, every later write is refused.
   */
  async write(records: readonly R[]): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    const line = lineOf(JSON.stringify(records));
    try {
      await writeFully(this.#handle, [line], this.#size);
      await this.#handle.datasync();
      this.#size += line.length;
    } catch (error) {
      await this.#takeBack();
      throw error;
    }
  }

  /**
   * Writes a line and syncs nothing; what it says must be durable elsewhere. Calls must not overlap.
   * @param records each as JSON
   */
  async append(records: readonly string[]): Promise<void> {
    const line = lineOf(`[${records.join(',')}]`);
    try {
      await writeFully(this.#handle, [line], this.#size);
    } catch (error) {
      // A torn line is taken for one that is being written; the next one goes over it.
      await this.#handle.truncate(this.#size).catch(() => undefined);
      throw error;
    }
    this.#size += line.length;
    this.#unsettled.push(line);
  }

  /** Makes durable what was appended by now. It may be called while something is appended. */
  async settle(): Promise<void> {
    const lines = this.#unsettled;
    if (lines.length === 0) return;
    const count = lines.length;
    if (this.#spoiled) {
      const bytes = lines.reduce((sum, { length }) => sum + length, 0);
      await writeFully(this.#handle, lines, this.#size - bytes);
    }
    try {
      await this.#handle.datasync();
    } catch (error) {
      this.#spoiled = true;
      throw error;
    }
    this.#spoiled = false;
    lines.splice(0, count);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  async #takeBack(): Promise<void> {
    try {
      await this.#handle.truncate(this.#size);
      await this.#handle.sync();
    } catch (error) {
      this.#broken = new FerryError('INDEX_BROKEN', `${this.#path} can no longer be written`, {
        kind: 'storage',
        hint: 'check the disk, then restart the receiver',
        cause: error,
      });
    }
  }
}

function crc(json: Buffer): string {
  return crc32(json).toString(16).padStart(CRC_DIGITS, '0');
}

/** @param json array of records */
function lineOf(json: string): Buffer {
  return Buffer.from(`${crc(Buffer.from(json))} ${json}\n`);
}

/** The last record of the last good line; the first line may be cut. */
function lastIn<R>(tail: Buffer): R | null {
  let end = tail.lastIndexOf(NEWLINE);
  while (end >= 0) {
    const start = end === 0 ? -1 : tail.lastIndexOf(NEWLINE, end - 1);
    const records = parseFrame<R>(tail.subarray(start + 1, end));
    if (records !== null) return records.at(-1) ?? null;
    end = start;
  }
  return null;
}

export interface RecordsRead<R> {
  records: R[];
  /** Offset in the file behind the last of them. */
  end: number;
}

interface Line<R> {
  /** Null: it is none. */
  records: R[] | null;
  /** Offset in the file behind it. */
  end: number;
}

/** Every whole line, good or not, some hundred at a time. */
async function* readLines<R>(handle: OpenFile): AsyncGenerator<Line<R>[]> {
  let rest: Buffer = Buffer.alloc(0);
  let offset = 0;
  for (;;) {
    const { buffer, bytesRead } = await handle.read(
      Buffer.alloc(READ_BYTES),
      0,
      READ_BYTES,
      offset,
    );
    if (bytesRead === 0) return;
    offset += bytesRead;
    rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
    const lines: Line<R>[] = [];
    let from = 0;
    for (let at = rest.indexOf(NEWLINE); at >= 0; at = rest.indexOf(NEWLINE, from)) {
      const records = parseFrame<R>(rest.subarray(from, at));
      from = at + 1;
      lines.push({ records, end: offset - rest.length + from });
    }
    rest = rest.subarray(from);
    if (lines.length > 0) yield lines;
  }
}

/** Every good line's records, in order. */
async function* readFrames<R>(handle: OpenFile, path: string): AsyncGenerator<RecordsRead<R>> {
  let torn = false;
  for await (const lines of readLines<R>(handle)) {
    const read: RecordsRead<R> = { records: [], end: 0 };
    for (const { records, end } of lines) {
      if (records === null) {
        torn = true;
      } else if (torn) {
        if (read.end > 0) yield read;
        throw new FerryError('INDEX_DAMAGED', `${path} is damaged before byte ${end}`, {
          kind: 'storage',
          hint: 'restore the receiver’s data folder from a backup; senders replay what is missing',
        });
      } else {
        read.records.push(...records);
        read.end = end;
      }
    }
    if (read.end > 0) yield read;
  }
}

function parseFrame<R>(line: Buffer): R[] | null {
  const json = line.subarray(CRC_DIGITS + 1);
  if (line.length < CRC_DIGITS + 3 || line.toString('latin1', 0, CRC_DIGITS) !== crc(json)) {
    return null;
  }
  return JSON.parse(json.toString('utf8')) as R[];
}
