import type { TLSSocket } from 'node:tls';
import { KEY } from './harness.js';

/*
 * HTTP/2 by hand: frames as bytes, so that a test can stop in the middle of one, or send what no
 * honest library sends. Header blocks are literals only (RFC 7541, 6.2.2), which every peer reads.
 */

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;
export const END_STREAM = 0x1;
export const END_HEADERS = 0x4;
export const CANCEL = 8;

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
export const HEADER_BYTES = 9;

export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEADER_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A header block of literals, never indexed. */
export function block(headers: Readonly<Record<string, string>>): Buffer {
  const parts = Object.entries(headers).flatMap(([name, value]) => [
    Buffer.from([0x10]),
    literal(name),
    literal(value),
  ]);
  return Buffer.concat(parts);
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

/** The headers of a batch, or with `path` of a blob, to the app of the tests' receiver. */
export function requestHeaders(
  bytes: number,
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  return {
    ':method': 'POST',
    ':scheme': 'https',
    ':path': '/foo.r',
    ':authority': 'localhost',
    authorization: `Bearer ${KEY.trimEnd()}`,
    'content-length': String(bytes),
    ...more,
  };
}

export function headersFrame(
  stream: number,
  headers: Readonly<Record<string, string>>,
  flags: number = END_HEADERS,
): Buffer {
  return frame(FRAME.headers, flags, stream, block(headers));
}

export function resetFrame(stream: number, code: number = CANCEL): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(code);
  return frame(FRAME.reset, 0, stream, payload);
}

export const SETTINGS = frame(FRAME.settings, 0, 0, Buffer.alloc(0));
export const OPENING = Buffer.concat([PREFACE, SETTINGS]);

/** A frame of the receiver's. */
export interface Frame {
  type: number;
  flags: number;
  stream: number;
  payload: Buffer;
}

/** Reads what comes back, frame by frame. */
export class FrameReader {
  readonly frames: Frame[] = [];
  #rest = Buffer.alloc(0);
  #wake: () => void = () => undefined;
  #over = false;

  constructor(socket: TLSSocket) {
    socket.on('data', (chunk: Buffer) => {
      this.#rest = Buffer.concat([this.#rest, chunk]);
      this.#cut();
      this.#wake();
    });
    socket.once('close', () => {
      this.#over = true;
      this.#wake();
    });
  }

  /** The first frame that fits; null: the connection ended without one. */
  async first(fits: (frame: Frame) => boolean): Promise<Frame | null> {
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined) return found;
      if (this.#over) return null;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  #cut(): void {
    for (;;) {
      if (this.#rest.length < HEADER_BYTES) return;
      const length = HEADER_BYTES + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < length) return;
      this.frames.push({
        type: this.#rest[3] ?? 0,
        flags: this.#rest[4] ?? 0,
        stream: this.#rest.readUInt32BE(5),
        payload: this.#rest.subarray(HEADER_BYTES, length),
      });
      this.#rest = this.#rest.subarray(length);
    }
  }
}
