import { createHash, randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock, unlock } from 'fs-native-extensions';
import { Random } from '../chaos/random.js';
import { type Endpoint, send } from '../src/protocol/index.js';
import type { SiegeSite } from './site.js';

/** An honest one is heard of at least so often. */
const PAUSE_MIN_MS = 500;
const PAUSE_MAX_MS = 2_000;
const SMALL_MAX_BYTES = 4_096;
/** One batch of so many is large. */
const LARGE_EVERY = 40;
const LARGE_MIN_BYTES = 1_000_000;
const LARGE_MAX_BYTES = 8_000_000;
/** Failed attempts are repeated after it. */
const RETRY_MS = 200;

export const BIN_SSL = '/usr/lib/picolisp/bin/ssl';

/** The first line of every batch and record: whose it is, and which. */
export function stamp(source: string, number: number): string {
  return `#${source} ${number}\n`;
}

/** Batches of one journal, sent by our own sender, each until it is confirmed. */
export class OurSource {
  readonly name: string;
  readonly app: string;
  /** SHA-256 of each confirmed batch, in order. */
  readonly confirmed: string[] = [];
  /** From the start of a send to its confirmation, of small batches, in ms. */
  readonly latencies: number[] = [];
  failures = 0;
  readonly #site: SiegeSite;
  readonly #random: Random;
  readonly #stream = randomBytes(16).toString('hex');

  constructor(site: SiegeSite, number: number) {
    this.name = `ours${number}`;
    this.app = site.appOf(number);
    this.#site = site;
    this.#random = new Random(this.name);
  }

  async run(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      const number = this.confirmed.length + 1;
      const large = number % LARGE_EVERY === 0;
      const bytes = large
        ? this.#random.between(LARGE_MIN_BYTES, LARGE_MAX_BYTES)
        : this.#random.between(1, SMALL_MAX_BYTES);
      const batch = Buffer.concat([
        Buffer.from(stamp(this.name, number)),
        Buffer.alloc(Math.floor(bytes), `${this.name} ${number}.`),
      ]);
      await this.#deliver(batch, number, large);
      const pause = this.#random.between(PAUSE_MIN_MS, PAUSE_MAX_MS);
      await sleep(pause, undefined, { signal: until }).catch(() => undefined);
    }
  }

  async #deliver(batch: Buffer, number: number, large: boolean): Promise<void> {
    const sha256 = createHash('sha256').update(batch).digest('hex');
    const started = performance.now();
    for (;;) {
      try {
        await send({
          endpoint: this.#endpoint(),
          body: { kind: 'batch' },
          bytes: batch.length,
          payload: once(batch),
          mayConfirm: () => true,
          signal: new AbortController().signal,
          identity: { stream: this.#stream, sequence: number, previous: number - 1, sha256 },
        });
        break;
      } catch {
        this.failures += 1;
        await sleep(RETRY_MS);
      }
    }
    // Retries count: what the sender waits for is the confirmation.
    if (!large) this.latencies.push(performance.now() - started);
    this.confirmed.push(sha256);
  }

  #endpoint(): Endpoint {
    return {
      name: this.name,
      host: 'localhost',
      port: this.#site.port,
      url: `${this.app}/!replica`,
      key: Buffer.from(this.#site.key),
      dialect: 'acked',
      confirm: 'applied',
      tls: { verify: true, ca: this.#site.ca, servername: null },
      timeouts: { connectMs: 10_000, idleMs: 20_000, applyMs: 20_000 },
    };
  }
}

async function* once(data: Buffer): AsyncGenerator<Uint8Array> {
  yield data;
}

/** A journal that the real bin/ssl ships, and what was written into it. */
export class TheirSource {
  readonly name: string;
  readonly app: string;
  readonly journal: string;
  readonly #random: Random;
  readonly #written: Buffer[] = [];
  #records = 0;

  private constructor(site: SiegeSite, number: number) {
    this.name = `theirs${number}`;
    // Each its own: without identity the order of arrival is all that there is.
    this.app = `${this.name}.r`;
    this.journal = site.household.path('srv', `${this.name}.journal`);
    this.#random = new Random(this.name);
  }

  static async start(site: SiegeSite, number: number): Promise<TheirSource> {
    const source = new TheirSource(site, number);
    await writeFile(source.journal, '');
    const url = `${source.app}/!replica`;
    // A trailing `+` keeps it in the foreground, so that it ends with this run.
    const words = ['localhost', String(site.port), url, 'key', source.journal, '', '1', '0', '+'];
    site.household.start(source.name, BIN_SSL, words, {
      cwd: site.household.path('srv'),
      env: { ...process.env, SSL_CERT_FILE: site.household.path('srv/cert.pem') },
    });
    return source;
  }

  get written(): Buffer {
    return Buffer.concat(this.#written);
  }

  async run(until: AbortSignal): Promise<void> {
    while (!until.aborted) {
      await this.#commit();
      const pause = this.#random.between(PAUSE_MIN_MS, PAUSE_MAX_MS);
      await sleep(pause, undefined, { signal: until }).catch(() => undefined);
    }
  }

  /** Whether bin/ssl has emptied the journal. */
  async isShipped(): Promise<boolean> {
    const file = await open(this.journal, constants.O_RDONLY);
    try {
      return (await file.stat()).size === 0;
    } finally {
      await file.close();
    }
  }

  async #commit(): Promise<void> {
    this.#records += 1;
    const bytes = Math.floor(this.#random.between(1, SMALL_MAX_BYTES));
    const record = Buffer.concat([
      Buffer.from(stamp(this.name, this.#records)),
      Buffer.alloc(bytes, `${this.#records}.`),
    ]);
    const file = await open(this.journal, constants.O_RDWR | constants.O_APPEND);
    try {
      while (!tryLock(file.fd)) await sleep(1);
      await file.appendFile(record);
      unlock(file.fd);
    } finally {
      await file.close();
    }
    this.#written.push(record);
  }
}
