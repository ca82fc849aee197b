import { hash, timingSafeEqual } from 'node:crypto';

interface Candidate {
  bytes: number;
  /** SHA-256 of the key's first line, its first two lines, ... by length in bytes. */
  prefixes: ReadonlyMap<number, Buffer>;
}

const NEWLINE = 0x0a;

/**
 * The keys of an app. A sender's key has no length of its own on the wire, so it is compared line
 * by line, as the real peers do; digests are compared, so that time tells nothing about how much of
 * a line was right.
 */
export class KeySet {
  /** Bytes of the longest key: what a connection may make us hold before it has proved a key. */
  readonly longest: number;
  readonly #candidates: readonly Candidate[];

  /** @param keys each ends in a newline */
  constructor(keys: readonly Buffer[]) {
    this.longest = Math.max(0, ...keys.map((key) => key.length));
    this.#candidates = keys.map((key) => {
      const prefixes = new Map<number, Buffer>();
      for (let at = key.indexOf(NEWLINE); at >= 0; at = key.indexOf(NEWLINE, at + 1)) {
        prefixes.set(at + 1, sha256(key.subarray(0, at + 1)));
      }
      return { bytes: key.length, prefixes };
    });
  }

  /**
   * @param lines whole lines received since the request's head, newline included
   * @returns `key`: one of ours; `more`: the beginning of one; `wrong`: neither
   */
  match(lines: Buffer): 'key' | 'more' | 'wrong' {
    const digest = sha256(lines);
    let answer: 'key' | 'more' | 'wrong' = 'wrong';
    for (const { bytes, prefixes } of this.#candidates) {
      const expected = prefixes.get(lines.length);
      if (expected === undefined || !timingSafeEqual(expected, digest)) continue;
      if (bytes === lines.length) answer = 'key';
      else if (answer === 'wrong') answer = 'more';
    }
    return answer;
  }
}

function sha256(bytes: Buffer): Buffer {
  return hash('sha256', bytes, 'buffer');
}
