import { mkdir } from 'node:fs/promises';
import type { Findings } from '../findings.js';
import type { Household } from '../household.js';
import { Ledger } from '../ledger.js';
import type { ChaosOptions } from '../options.js';
import { Random } from '../random.js';
import { RecordWriter, type Source } from '../writer.js';
import {
  journalFlavour,
  type Loss,
  type Outage,
  type Peer,
  type PeerCounts,
  type Progress,
  toldOutage,
} from './peer.js';
import { SinkServer } from './sinkServer.js';

/** A server in this very process that sees every send. */
export class SinkPeer implements Peer {
  readonly destination: string;
  readonly journals: readonly string[];
  readonly outage: Outage;
  readonly #household: Household;
  readonly #options: ChaosOptions;
  readonly #ledger: Ledger;
  readonly #server: SinkServer;
  #writers: RecordWriter[] = [];

  private constructor(
    household: Household,
    options: ChaosOptions,
    names: readonly string[],
    ledger: Ledger,
    server: SinkServer,
  ) {
    this.#household = household;
    this.#options = options;
    this.#ledger = ledger;
    this.#server = server;
    // A worker that stood still in the middle of its handshake must not be saved by a timeout.
    this.destination = `host: localhost, port: ${server.port}, url: "{journal}.r/!replica", key: ./key, tls: {ca: ./cert.pem}, timeouts: {connect: 60s}`;
    this.journals = names.map(
      (name, n) => `name: ${name}, path: ./fifo/${name}, interval: 500ms${journalFlavour(n)}`,
    );
    this.outage = toldOutage(server, ledger);
  }

  static async start(
    household: Household,
    options: ChaosOptions,
    findings: Findings,
    secrets: { cert: string; key: string; keyText: string },
  ): Promise<SinkPeer> {
    const names = Array.from({ length: options.journals }, (_, n) => `j${n}`);
    const ledger = new Ledger(findings, names);
    const server = new SinkServer({
      tls: secrets,
      keyText: secrets.keyText,
      ledger,
      findings,
      random: new Random(`${options.seed}/sink`),
    });
    await mkdir(household.path('fifo'));
    await server.up();
    return new SinkPeer(household, options, names, ledger, server);
  }

  write(): Source[] {
    this.#writers = this.journals.map(
      (_, n) =>
        new RecordWriter({
          journal: `j${n}`,
          path: this.#household.path('fifo', `j${n}`),
          blobDir: null,
          random: new Random(`${this.#options.seed}/j${n}`),
        }),
    );
    return this.#writers;
  }

  redisLost(): Loss {
    return this.#ledger.redisLost();
  }

  calm(): void {
    this.#server.hesitates = false;
  }

  async progress(): Promise<Progress> {
    const open = this.#writers
      .map((w) => ({ name: w.journal, at: this.#ledger.countedRecords(w.journal), of: w.records }))
      .filter(({ at, of }) => at < of);
    return {
      done: open.length === 0 && this.#server.pending === 0,
      mark: `${open.map(({ name, at, of }) => `${name}: ${at} of ${of}`).join(', ')} (${this.#ledger.batches} batches, ${this.#ledger.repeats} repeats)`,
    };
  }

  async check(): Promise<void> {
    this.#ledger.check(new Map(this.#writers.map((w) => [w.journal, w.records])));
  }

  counts(): PeerCounts {
    const { batches, bytes, repeats, rewinds, stepsBack } = this.#ledger;
    return { batches, bytes, blobs: 0, repeats, rewinds, stepsBack };
  }

  async stop(): Promise<void> {
    this.#server.stop();
  }
}
