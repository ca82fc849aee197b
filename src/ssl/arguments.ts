import { FerryError } from '../common/errors.js';

/**
 * bin/ssl's command line, as the C program of 2022 reads it: words by position, no options. Where
 * it uses `atoi`, so do we; where it takes the first character of a word for a sign, so do we.
 */
export type SslCall = TransferCall | DaemonCall;

interface Common {
  host: string;
  port: string;
  /** False for a `-` before the port: neither chain nor name is checked. */
  verify: boolean;
  /** A trailing `+`: says more, and a daemon stays in the foreground. */
  debug: boolean;
}

/** `host [-]port` and `host [-]port url [file [file]]`. */
export interface TransferCall extends Common {
  kind: 'transfer';
  /** Null: standard input goes out as it is, without a request. */
  url: string | null;
  /** Sent behind the request, in order; empty words are left out. */
  files: readonly SslFile[];
}

/** `host [-]port url [-]key journal blobdir sec [min [dir ..]]`. */
export interface DaemonCall extends Common {
  kind: 'daemon';
  url: string;
  /** Null for `''`: nothing is sent, the journal is archived and emptied. */
  key: SslFile | null;
  journal: string | null;
  blobDir: string | null;
  /** Between retries. */
  seconds: number;
  /** Ends after so long without work; null: never. */
  idleMinutes: number | null;
  /** `0` as minutes: the daemon's process id is printed. */
  printPid: boolean;
  /** Prefixes, `/`-terminated: each batch becomes `<prefix><number>`. */
  archives: readonly string[];
}

/** What a word that names bytes stands for. */
export type SslFile = { kind: 'file'; path: string } | { kind: 'text'; text: string } | 'stdin';

export const USAGE =
  'host port [url [key [file]]] | host port url key journal blobdir sec [min [dir ..]]';

/** The C program's buffer for the request, and its template without the three names. */
const REQUEST_BYTES_MAX = 1024;
const TEMPLATE_BYTES =
  'GET /%s HTTP/1.0\r\nUser-Agent: PicoLisp\r\nHost: %s:%s\r\nAccept-Charset: utf-8\r\n\r\n'.length;

/**
 * @param words everything behind the command's name
 * @throws FerryError SSL_USAGE (kind usage), SSL_NAMES_TOO_LONG (kind usage)
 */
export function parseSslCall(words: readonly string[]): SslCall {
  const debug = words.at(-1) === '+';
  const [host, portWord, url, ...rest] = debug ? words.slice(0, -1) : words;
  // Six words would be a daemon without its seconds.
  if (host === undefined || portWord === undefined || rest.length === 3) throw usage();
  const verify = !portWord.startsWith('-');
  const port = verify ? portWord : portWord.slice(1);
  const common = { host, port, verify, debug };
  if (url === undefined) return { kind: 'transfer', ...common, url: null, files: [] };

  const named = Buffer.byteLength(host) + Buffer.byteLength(port) + Buffer.byteLength(url);
  if (TEMPLATE_BYTES + named >= REQUEST_BYTES_MAX) {
    throw new FerryError('SSL_NAMES_TOO_LONG', 'Names too long', {
      kind: 'usage',
      hint: `host, port and url may have ${REQUEST_BYTES_MAX - TEMPLATE_BYTES - 1} bytes together`,
    });
  }
  if (rest.length < 3) {
    const files = rest.filter((word) => word !== '').map(fileOf);
    return { kind: 'transfer', ...common, url, files };
  }
  const [key = '', journal = '', blobDir = '', seconds = '', minutes = '', ...archives] = rest;
  const idleMinutes = atoi(minutes);
  return {
    kind: 'daemon',
    ...common,
    url,
    key: key === '' ? null : fileOf(key),
    journal: journal === '' ? null : journal,
    blobDir: blobDir === '' ? null : blobDir,
    seconds: Math.max(0, atoi(seconds)),
    // A negative alarm of the C program lies a lifetime ahead.
    idleMinutes: idleMinutes > 0 ? idleMinutes : null,
    printPid: minutes !== '' && idleMinutes === 0,
    archives,
  };
}

function fileOf(word: string): SslFile {
  if (word === '-') return 'stdin';
  return word.startsWith('-')
    ? { kind: 'text', text: word.slice(1) }
    : { kind: 'file', path: word };
}

/** C's: blanks, a sign, digits; what follows is ignored, and nothing is 0. */
function atoi(word: string): number {
  return Number(/^\s*([+-]?[0-9]+)/.exec(word)?.[1] ?? 0);
}

function usage(): FerryError {
  return new FerryError('SSL_USAGE', USAGE, {
    kind: 'usage',
    hint: 'the arguments are those of bin/ssl: two to five words, or seven and more',
  });
}

const MASK = '-***';

/** The words without a key that is written out: what may be seen in a list of processes. */
export function maskedWords(words: readonly string[]): string[] {
  const { length } = words.at(-1) === '+' ? words.slice(0, -1) : words;
  return words.map((word, index) => {
    const isSecret = index === 3 || (index === 4 && length === 5);
    return isSecret && word.startsWith('-') && word !== '-' ? MASK : word;
  });
}
