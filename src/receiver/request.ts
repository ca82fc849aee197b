import { isIP } from 'node:net';
import { READS_AS_NUMBER } from '../protocol/encode.js';
import { type ParsedKey, parseDigest, parseIdempotencyKey } from '../protocol/identityHeaders.js';
import type { KeySet } from './keys.js';
import { blobPathTrouble } from './names.js';

/** Request line and headers together. bin/ssl sends some 150 bytes. */
export const HEAD_MAX_BYTES = 16 * 1024;
/** Header lines. */
export const HEADERS_MAX = 64;
/** The line after the key: a length or a blob path. */
const COMMAND_MAX_BYTES = 4_096;

const NEWLINE = 0x0a;
const T = 0x54;
const REQUEST_LINE = /^GET \/([\x21-\x7e]*) HTTP\/1\.[0-9]$/;
/** A line of httpGate: the client's address, as seen by a socket of both families. */
const GATE_ADDRESS = /^\*Adr=(?:::ffff:(?=\d+\.))?(.{1,45})$/;
/** Sixteen digits could leave the safe integers. */
const LENGTH = /^[0-9]{1,15}$/;

export type Refusal =
  /** Not the wire, or a limit of it exceeded. */
  | 'malformed'
  /** An identity header that is not of our grammar. */
  | 'malformed-identity'
  | 'unknown-app'
  | 'wrong-key'
  | 'blob-path'
  /** The connection of an `eof` blob ended before or behind the announced length. */
  | 'cut'
  /** The byte after the data is not `T`. */
  | 'not-committed';

export interface RequestHead {
  app: string;
  identity: ParsedKey | null;
  /** From Content-Digest, hexadecimal. */
  sha256: string | null;
  /** From Upload-Length: of a blob that ends with the connection. */
  uploadBytes: number | null;
}

export type Announced =
  | { kind: 'batch'; bytes: number }
  /** `bytes` is null in the `eof` dialect. */
  | { kind: 'blob'; path: string; bytes: number | null };

export type RequestEvent =
  | { is: 'body'; head: RequestHead; body: Announced }
  /** A part of the buffer that was pushed. */
  | { is: 'data'; data: Buffer }
  /** Everything announced has come, and the byte that asks for the commit. */
  | { is: 'commit' }
  /** Something follows the commit byte: real peers do not apply such a request. */
  | { is: 'excess' }
  /** Nothing after this is looked at. */
  | { is: 'refused'; why: Refusal };

export interface RequestOptions {
  dialect: 'acked' | 'eof';
  /** The keys of an app; null: no such app. */
  keysOf: (app: string) => KeySet | null;
}

type State = 'requestLine' | 'headers' | 'key' | 'command' | 'length' | 'data' | 'commit' | 'over';

/**
 * The server's side of the wire, incrementally: any cutting of the same bytes gives the same
 * events, but for where `data` is divided.
 *
 *     requestLine -> headers -> key -> command -> [length ->] data -> commit -> over
 *                                        any state -- refused --> over
 *
 * What it holds is bounded: a line of each state's limit.
 */
export class RequestParser {
  readonly #options: RequestOptions;
  #state: State = 'requestLine';
  /** An unfinished line. */
  #partial: Buffer = Buffer.alloc(0);
  #headBytes = 0;
  #headers = 0;
  #head: RequestHead = { app: '', identity: null, sha256: null, uploadBytes: null };
  #keys: KeySet | null = null;
  #keyLines: Buffer = Buffer.alloc(0);
  #path = '';
  /** Bytes of data still to come; Infinity: until the end of file. */
  #left = 0;
  #dataBytes = 0;
  #refused = false;
  #gatePeer: string | null = null;

  constructor(options: RequestOptions) {
    this.#options = options;
  }

  /** True while the head, key and announcement are not complete. */
  get inHead(): boolean {
    return !['data', 'commit', 'over'].includes(this.#state);
  }

  /**
   * What httpGate says the client's address is; null: nothing. Only to be believed where nobody but
   * a gate can connect. Its line comes before those of the client, so the first one counts.
   */
  get gatePeer(): string | null {
    return this.#gatePeer;
  }

  /** True once nothing more is expected. */
  get over(): boolean {
    return this.#state === 'over';
  }

  *push(chunk: Buffer): Generator<RequestEvent, void, undefined> {
    let rest = chunk;
    while (rest.length > 0) {
      switch (this.#state) {
        case 'data': {
          const data = rest.subarray(0, this.#left);
          this.#left -= data.length;
          this.#dataBytes += data.length;
          rest = rest.subarray(data.length);
          if (this.#left === 0) this.#state = 'commit';
          yield { is: 'data', data };
          break;
        }
        case 'commit':
          this.#state = 'over';
          if (rest[0] !== T) {
            yield this.#refuse('not-committed');
            return;
          }
          yield { is: 'commit' };
          rest = rest.subarray(1);
          break;
        case 'over':
          if (!this.#refused) yield { is: 'excess' };
          return;
        default: {
          const end = rest.indexOf(NEWLINE);
          const part = end < 0 ? rest : rest.subarray(0, end + 1);
          if (this.#partial.length + part.length > this.#lineMax()) {
            yield this.#refuse(this.#state === 'key' ? 'wrong-key' : 'malformed');
            return;
          }
          const line = this.#partial.length === 0 ? part : Buffer.concat([this.#partial, part]);
          rest = rest.subarray(part.length);
          if (end < 0) {
            this.#partial = Buffer.from(line);
            return;
          }
          this.#partial = Buffer.alloc(0);
          const event = this.#onLine(line);
          if (event !== null) yield event;
        }
      }
    }
  }

  /** The client's end of file: what ends a blob of the `eof` dialect. */
  *end(): Generator<RequestEvent, void, undefined> {
    if (this.#state === 'data' && this.#left === Number.POSITIVE_INFINITY) {
      this.#state = 'over';
      const { uploadBytes } = this.#head;
      // The kernel of a sender that was killed ends the connection as its own end would.
      if (uploadBytes !== null && uploadBytes !== this.#dataBytes) yield this.#refuse('cut');
      else yield { is: 'commit' };
    }
  }

  #lineMax(): number {
    switch (this.#state) {
      case 'requestLine':
      case 'headers':
        return HEAD_MAX_BYTES - this.#headBytes;
      case 'key':
        return (this.#keys?.longest ?? 0) - this.#keyLines.length;
      default:
        return COMMAND_MAX_BYTES;
    }
  }

  #onLine(line: Buffer): RequestEvent | null {
    switch (this.#state) {
      case 'requestLine':
        return this.#onRequestLine(line);
      case 'headers':
        return this.#onHeader(line);
      case 'key':
        return this.#onKeyLine(line);
      case 'command':
        return this.#onCommand(line);
      default:
        return this.#onLength(line);
    }
  }

  #onRequestLine(line: Buffer): RequestEvent | null {
    this.#headBytes += line.length;
    const url = REQUEST_LINE.exec(textOf(line))?.[1];
    if (url === undefined) return this.#refuse('malformed');
    this.#head.app = url.split('/', 1)[0] ?? '';
    this.#state = 'headers';
    return null;
  }

  #onHeader(line: Buffer): RequestEvent | null {
    this.#headBytes += line.length;
    this.#headers += 1;
    if (this.#headers > HEADERS_MAX) return this.#refuse('malformed');
    const text = textOf(line);
    if (text === '') {
      this.#keys = this.#options.keysOf(this.#head.app);
      if (this.#keys === null) return this.#refuse('unknown-app');
      this.#state = 'key';
      return null;
    }
    const colon = text.indexOf(':');
    const name = text.slice(0, Math.max(0, colon)).toLowerCase();
    const value = text.slice(colon + 1).trim();
    if (name === 'idempotency-key') {
      this.#head.identity = parseIdempotencyKey(value);
      if (this.#head.identity === null) return this.#refuse('malformed-identity');
    } else if (name === 'content-digest') {
      this.#head.sha256 = parseDigest(value);
      if (this.#head.sha256 === null) return this.#refuse('malformed-identity');
    } else if (name === 'x-pil') {
      const address = GATE_ADDRESS.exec(value)?.[1] ?? '';
      if (isIP(address) !== 0) this.#gatePeer ??= address;
    } else if (name === 'upload-length') {
      if (!LENGTH.test(value)) return this.#refuse('malformed-identity');
      this.#head.uploadBytes = Number(value);
    }
    return null;
  }

  #onKeyLine(line: Buffer): RequestEvent | null {
    this.#keyLines = Buffer.concat([this.#keyLines, line]);
    const match = this.#keys?.match(this.#keyLines) ?? 'wrong';
    if (match === 'wrong') return this.#refuse('wrong-key');
    if (match === 'key') this.#state = 'command';
    return null;
  }

  #onCommand(line: Buffer): RequestEvent | null {
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(
        line.subarray(0, -1),
      );
    } catch {
      return this.#refuse('blob-path');
    }
    if (LENGTH.test(text)) return this.#begin({ kind: 'batch', bytes: Number(text) });
    if (READS_AS_NUMBER.test(text)) return this.#refuse('malformed');
    if (blobPathTrouble(text) !== null) return this.#refuse('blob-path');
    this.#path = text;
    if (this.#options.dialect === 'eof')
      return this.#begin({ kind: 'blob', path: text, bytes: null });
    this.#state = 'length';
    return null;
  }

  #onLength(line: Buffer): RequestEvent | null {
    const text = textOf(line);
    if (!LENGTH.test(text)) return this.#refuse('malformed');
    return this.#begin({ kind: 'blob', path: this.#path, bytes: Number(text) });
  }

  #begin(body: Announced): RequestEvent {
    const { identity } = this.#head;
    if (identity !== null && identity.kind !== body.kind) return this.#refuse('malformed-identity');
    this.#left = body.bytes ?? Number.POSITIVE_INFINITY;
    this.#state = this.#left === 0 ? 'commit' : 'data';
    return { is: 'body', head: this.#head, body };
  }

  #refuse(why: Refusal): RequestEvent {
    this.#state = 'over';
    this.#refused = true;
    return { is: 'refused', why };
  }
}

function textOf(line: Buffer): string {
  return line.toString('latin1').replace(/\r?\n$/, '');
}
