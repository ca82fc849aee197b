import { execFile } from 'node:child_process';
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { RouteStatus, StatusReport } from '../../src/status/report.js';
import { tidyingIsOurs } from '../../test/support/atEnd.js';
import { testCerts } from '../../test/support/certs.js';
import { Replica, sameFiles, Writer } from '../../test/support/picolisp.js';
import { type Findings, say } from '../findings.js';
import type { Household } from '../household.js';
import { Ledger } from '../ledger.js';
import type { ChaosOptions } from '../options.js';
import { Random } from '../random.js';
import type { Source } from '../writer.js';
import { Observer } from './observer.js';
import {
  type Loss,
  type Outage,
  type Peer,
  type PeerCounts,
  type Progress,
  toldOutage,
} from './peer.js';

const FERRY = fileURLToPath(new URL('../../src/cli/ferry.cjs', import.meta.url));
const STATUS_MS = 20_000;
const PAUSE_MAX_MS = 400;
const SMALL_OBJECTS = 8;
/** Of so many commits one is larger than what fits into a spool's log. */
const LARGE_EVERY = 50;
const LARGE_OBJECTS = 500;
const CHARACTERS = 900;

/** Longer than any worker stands still with its connection open. */
const WEDGED_MS = 45_000;
const WEDGED_LOOK_MS = 5_000;

const GATE_DEADLINE_MS = 10_000;
const GATE_LOOK_MS = 300;

/** How the ledger calls the one journal. */
const JOURNAL = 'journal';

/**
 * The real database, httpGate and replica.l, and between those two an observer that knows every
 * batch in the order in which the replica applies them. Nothing of theirs is killed.
 */
export class PicolispPeer implements Peer {
  readonly destination: string;
  readonly journals: readonly string[];
  readonly outage: Outage;
  readonly #ledger: Ledger;
  readonly #observer: Observer;
  readonly #household: Household;
  readonly #findings: Findings;
  readonly #random: Random;
  readonly #replica: Replica;
  readonly #database: Writer;
  readonly #watch: NodeJS.Timeout;
  #status: RouteStatus | null = null;

  private constructor(
    household: Household,
    options: ChaosOptions,
    findings: Findings,
    real: { replica: Replica; gate: number; database: Writer; ledger: Ledger; observer: Observer },
  ) {
    const { replica, gate, database, ledger, observer } = real;
    this.#ledger = ledger;
    this.#observer = observer;
    this.outage = toldOutage(observer, ledger);
    this.#household = household;
    this.#findings = findings;
    this.#random = new Random(`${options.seed}/database`);
    this.#replica = replica;
    this.#database = database;
    this.destination = `host: localhost, port: ${replica.gatePort}, url: "${observer.port}/!replica", key: {text: ${JSON.stringify(replica.key.toString())}}, tls: {ca: ${testCerts().caFile}}`;
    this.journals = [
      `name: ${JOURNAL}, path: ${database.journal}, interval: 500ms, flush: {maxBytes: 64KiB}`,
    ];
    this.#watch = this.#freeWedged(gate);
  }

  static async start(
    household: Household,
    options: ChaosOptions,
    findings: Findings,
  ): Promise<PicolispPeer> {
    tidyingIsOurs();
    const replica = await Replica.start();
    household.adopt(replica.pids.replica);
    const database = await Writer.start();
    household.adopt(database.pid);
    const gate = await settledGate(replica);
    household.adopt(gate);
    const ledger = new Ledger(findings, [JOURNAL]);
    const observer = new Observer({
      replicaPort: replica.port,
      journal: JOURNAL,
      keyText: replica.key.toString(),
      ledger,
      findings,
    });
    await observer.up();
    const real = { replica, gate, database, ledger, observer };
    return new PicolispPeer(household, options, findings, real);
  }

  write(): Source[] {
    let stopping = false;
    const over = (async () => {
      while (!stopping) {
        const large = this.#random.integer(1, LARGE_EVERY) === 1;
        const objects = large ? LARGE_OBJECTS : this.#random.integer(1, SMALL_OBJECTS);
        await this.#database.commit(objects, CHARACTERS);
        await sleep(this.#random.between(0, PAUSE_MAX_MS));
      }
    })();
    return [
      {
        async stop() {
          stopping = true;
          await over;
        },
      },
    ];
  }

  redisLost(): Loss {
    return this.#ledger.redisLost();
  }

  calm(): void {}

  async progress(): Promise<Progress> {
    const { stdout } = await promisify(execFile)(process.execPath, [FERRY, 'status', '--json'], {
      cwd: this.#household.dir,
      timeout: STATUS_MS,
    });
    this.#status = (JSON.parse(stdout) as StatusReport).routes[0] ?? null;
    const status = this.#status;
    if (status === null) return { done: false, mark: 'no route' };
    const { state, head, tail, journalBytes, pendingBatches, lastError } = status;
    return {
      done: state === 'idle' && pendingBatches === 0 && statSync(this.#database.journal).size === 0,
      mark: `${state}, head ${head}, tail ${tail}, ${journalBytes} bytes in the journal, ${lastError}`,
    };
  }

  async check(): Promise<void> {
    this.#ledger.check(new Map());
    // The last commit is applied before the replica closes, and written when it is idle.
    if (sameFiles(this.#database.db, this.#replica.db)) return;
    const sizes = [this.#database.db, this.#replica.db].map((file) => statSync(file).size);
    this.#findings.add('lost', `the databases differ; ${sizes.join(' and ')} bytes`);
  }

  counts(): PeerCounts {
    const { batches, repeats, rewinds, stepsBack } = this.#ledger;
    const { size } = statSync(this.#replica.db);
    return { batches, bytes: size, blobs: 0, repeats, rewinds, stepsBack };
  }

  /**
   * A client that was killed while it waited for its `T` can hang this replica for ever. Then the
   * gate's process for that connection is ended: to the replica its client has closed.
   */
  #freeWedged(gate: number): NodeJS.Timeout {
    const since = new Map<number, number>();
    return setInterval(() => {
      const now = performance.now();
      const children = this.#replica.pids.gate.filter((pid) => pid !== gate);
      for (const pid of since.keys()) if (!children.includes(pid)) since.delete(pid);
      for (const pid of children) {
        const seen = since.get(pid) ?? now;
        since.set(pid, seen);
        if (now - seen < WEDGED_MS) continue;
        say('a connection of the gate hangs since its client was killed; it is ended');
        process.kill(pid, 'SIGKILL');
      }
    }, WEDGED_LOOK_MS);
  }

  async stop(): Promise<void> {
    clearInterval(this.#watch);
    this.#observer.stop();
    await this.#database.stop();
    await this.#replica.stop();
    say('database and replica have ended');
  }
}

/** The gate goes into the background by itself: the process that stays is another one. */
async function settledGate(replica: Replica): Promise<number> {
  const deadline = performance.now() + GATE_DEADLINE_MS;
  let before: number | undefined;
  for (;;) {
    const [gate, ...more] = replica.pids.gate;
    if (gate !== undefined && more.length === 0 && gate === before) return gate;
    if (performance.now() > deadline) throw new Error('httpGate does not run');
    before = more.length === 0 ? gate : undefined;
    await sleep(GATE_LOOK_MS);
  }
}
