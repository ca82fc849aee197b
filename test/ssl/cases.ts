/** What a case of the conformance suite says, and the words that many cases share. */
import type { CaptureServer } from './captureServer.js';
import type { Files, Outcome, Side } from './programs.js';

export interface Case {
  /** A sentence that is true of ours; of the real program too, unless `differs` says otherwise. */
  name: string;
  /** What stands at PORT; one for each program. Default: nobody listens. */
  server?: () => Promise<CaptureServer>;
  /** In the working directory of each program. */
  files?: Files;
  play(side: Side): Promise<void>;
  /** What the real program did. Holds it to the case, so that two failures are not an agreement. */
  real: Partial<Outcome>;
  /** Connections are compared whatever their order. */
  anyOrder?: boolean;
  /** Of equal connections one counts: how often a program tries is its own affair. */
  distinct?: boolean;
  /** On its standard error. */
  realSays?: RegExp;
  /** Where ours is to do better than the real program: instead of the same outcome. */
  differs?: Partial<Outcome>;
  /** Ours says what happened, and what to do, where the real one is silent. */
  says?: RegExp;
}

/** The request head. PORT and DIR are filled in by whoever uses it. */
export function head(url: string, host = 'localhost', port = 'PORT'): string {
  return [
    `GET /${url} HTTP/1.0`,
    'User-Agent: PicoLisp',
    `Host: ${host}:${port}`,
    'Accept-Charset: utf-8',
    '',
    '',
  ].join('\r\n');
}

export const URL = 'foo.r/!replica';
export const KEY = 'the key\n';

/** A whole journal on the wire. */
export function journal(data: string, key = KEY): string {
  return `${head(URL)}${key}${Buffer.byteLength(data, 'latin1')}\n${data}T`;
}

/** A whole blob on the wire. */
export function blob(path: string, data: string, key = KEY): string {
  return `${head(URL)}${key}${path}\n${data.length}\n${data}T`;
}

export const OK_ANSWER = 'HTTP/1.0 200 OK\r\n\r\nhello\n';

/** Bytes of a request when its port is filled in: ports of tests have five digits. */
export function filledLength(request: string): number {
  return Buffer.byteLength(request.replaceAll('PORT', '12345'), 'latin1');
}
