import { hash } from 'node:crypto';
import { partName } from './incoming.js';

/**
 * A small batch on its way from a connection, gathered in memory. Its bytes are copied out of what
 * the network hands over: a small piece of that would keep a large one alive.
 */
export class Gathered {
  /** As of a part; no such file is ever made. */
  readonly name = partName();
  readonly kept = true;
  readonly #data: Buffer;
  #bytes = 0;
  readonly #give: () => void;
  #isGiven = false;

  /**
   * @param bytes as announced
   * @param give gives its room in memory back
   */
  constructor(bytes: number, give: () => void) {
    this.#data = Buffer.allocUnsafe(bytes);
    this.#give = give;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What has come. */
  get data(): Buffer {
    return this.#data.subarray(0, this.#bytes);
  }

  /** More than was announced is counted and not kept: whoever reads ends such a request. */
  write(data: Buffer): void {
    if (this.#bytes < this.#data.length) data.copy(this.#data, this.#bytes);
    this.#bytes += data.length;
  }

  finish(): { sha256: string; bytes: number } {
    return { sha256: hash('sha256', this.data), bytes: this.#bytes };
  }

  discard(): void {
    if (this.#isGiven) return;
    this.#isGiven = true;
    this.#give();
  }
}
