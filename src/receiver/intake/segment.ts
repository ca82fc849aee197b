import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { join } from 'node:path';
import { crashPoint } from '../../common/crashPoints.js';
import type { FileSystem } from '../../common/fileSystem.js';
import type { OpenFile } from '../../common/openFile.js';
import { writeFully } from '../writing.js';
import { encodeFrame, MARK_BYTES } from './frame.js';

const NUMBER_DIGITS = 10;
const NAME = /^(\d{10})\.log$/;
const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;

/** One accepted batch, as it goes into the intake. */
export interface IntakeBatch {
  app: string;
  /** Its `BatchRecord` as JSON. */
  json: string;
  /** Null: the bytes are durable in a part already, which the record names. */
  data: Buffer | null;
}

/** So many bytes of other segments, by name, are what was accepted; what follows there was not. */
export type Ends = Readonly<Record<string, number>>;

/** The first frame of a segment. */
export interface SegmentHead {
  ends: Ends;
}

/** The meta of every other frame: app, whether its bytes are in the payload, `BatchRecord`. */
export type GroupMeta = [app: string, here: 0 | 1, record: unknown][];

/** `0000000042.log` */
export function segmentName(number: number): string {
  return `${String(number).padStart(NUMBER_DIGITS, '0')}.log`;
}

/** The number of a segment; null: the name is none of ours. */
export function segmentNumber(name: string): number | null {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** A segment that is written to: frames, each durable before the next is begun. */
export class Segment {
  readonly name: string;
  readonly #folder: string;
  readonly #fs: FileSystem;
  readonly #handle: OpenFile;
  readonly #mark = randomBytes(MARK_BYTES);
  readonly #head: string;
  #end = 0;
  #broken = false;

  private constructor(
    fs: FileSystem,
    folder: string,
    name: string,
    handle: OpenFile,
    head: SegmentHead,
  ) {
    this.#fs = fs;
    this.#folder = folder;
    this.name = name;
    this.#handle = handle;
    this.#head = JSON.stringify(head);
  }

  /** A new file, empty: its head and its name become durable with the first frame. */
  static async create(
    fs: FileSystem,
    folder: string,
    number: number,
    head: SegmentHead,
  ): Promise<Segment> {
    const name = segmentName(number);
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    return new Segment(fs, folder, name, await fs.open(join(folder, name), flags, 0o600), head);
  }

  /** Bytes, all durable. */
  get end(): number {
    return this.#end;
  }

  /** Something failed: it takes nothing more. */
  get broken(): boolean {
    return this.#broken;
  }

  /**
   * Makes batches durable, all or none. One call at a time. After a failure nobody knows what is on
   * the disk: the kernel may have dropped what it was to write, and call the next sync a success. So
   * the segment is never written to again, and the next one says where this one ends.
   */
  async append(batches: readonly IntakeBatch[]): Promise<void> {
    const meta = batches.map(
      ({ app, json, data }) => `[${JSON.stringify(app)},${data === null ? 0 : 1},${json}]`,
    );
    const payload = batches.flatMap(({ data }) => (data === null ? [] : [data]));
    let bytes = encodeFrame(this.#mark, `[${meta.join(',')}]`, payload);
    const isFirst = this.#end === 0;
    if (isFirst) bytes = Buffer.concat([encodeFrame(this.#mark, this.#head), bytes]);
    try {
      await writeFully(this.#handle, [bytes], this.#end);
      crashPoint('intake.written');
      if (isFirst) {
        await Promise.all([this.#handle.datasync(), this.#fs.syncDirectory(this.#folder)]);
      } else {
        await this.#handle.datasync();
      }
      this.#end += bytes.length;
    } catch (error) {
      this.#broken = true;
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#handle.close();
  }

  /** Its name may come back with a power cut: what it holds is durable elsewhere, or was refused. */
  remove(): Promise<void> {
    return this.#fs.unlink(join(this.#folder, this.name));
  }
}
