import assert from 'node:assert/strict';
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { connectionsSettled } from '../../src/protocol/index.js';
import type { ReceiverStatus, StatusReport } from '../../src/status/report.js';
import { Site } from '../e2e/site.js';
import { STREAM, sha256, ship } from '../receiver/harness.js';
import { failOnLeaks } from '../support/leaks.js';
import { sameFiles, Writer } from '../support/picolisp.js';
import { killPid, runFerry, startFerry, type TestProcess, until } from '../support/process.js';

const APPLY = fileURLToPath(new URL('../../../examples/picolisp-apply/apply.sh', import.meta.url));

afterEach(connectionsSettled);
failOnLeaks();

/** A real database that writes a journal, and a receiver that applies it to another one. */
class Pair {
  readonly site: Site;
  readonly writer: Writer;
  readonly db: string;
  #receiver: TestProcess | null = null;
  #port = 0;
  #sequence = 0;

  private constructor(site: Site, writer: Writer) {
    this.site = site;
    this.writer = writer;
    this.db = site.path('replica-db');
  }

  static async make(): Promise<Pair> {
    const site = await Site.make();
    writeFileSync(
      site.path('receiver.yaml'),
      `receiver:
  listen: 127.0.0.1:0
  tls: {cert: ./cert.pem, key: ./cert.key}
  apps:
    - {name: foo.r, keys: [./key], apply: [${JSON.stringify(APPLY)}, ${JSON.stringify(site.path('replica-db'))}]}
`,
    );
    const pair = new Pair(site, await Writer.start());
    await pair.startReceiver();
    return pair;
  }

  async startReceiver(): Promise<void> {
    const words = ['receiver', '-c', 'receiver.yaml', '--log-format', 'json'];
    this.#receiver = startFerry(words, { cwd: this.site.dir });
    const line = await this.#receiver.line(/receiver listens/);
    this.#port = Number(/"port":(\d+)/.exec(line)?.[1]);
  }

  /** Its command may live on, and hold its output open. */
  async killReceiver(): Promise<void> {
    this.receiver.signal('SIGKILL');
    await this.receiver.exited;
  }

  get receiver(): TestProcess {
    assert.ok(this.#receiver);
    return this.#receiver;
  }

  /** Sends some bytes as the next batch. */
  async send(batch: Buffer): Promise<void> {
    const previous = this.#sequence;
    this.#sequence += 1;
    const identity = { stream: STREAM, sequence: this.#sequence, previous, sha256: sha256(batch) };
    await ship(this.#port, batch, identity, undefined, {
      key: Buffer.from(this.site.keyText),
      tls: { verify: true, ca: readFileSync(this.site.path('cert.pem')), servername: null },
    });
  }

  /** Sends all that is in the journal as one batch, as a capture would. */
  async shipJournal(): Promise<void> {
    const batch = readFileSync(this.writer.journal);
    truncateSync(this.writer.journal, 0);
    await this.send(batch);
  }

  async status(): Promise<ReceiverStatus['apps'][number]> {
    const words = ['status', '-c', 'receiver.yaml', '--json'];
    const { stdout } = await runFerry(words, { cwd: this.site.dir });
    const [app] = (JSON.parse(stdout) as StatusReport).receiver?.apps ?? [];
    assert.ok(app);
    return app;
  }

  get applied(): number {
    const path = this.site.path('received/foo.r/applied');
    return existsSync(path) ? Number(readFileSync(path, 'latin1')) : 0;
  }

  async allApplied(): Promise<void> {
    await until('all is applied', () => this.applied === this.#sequence, 60_000);
  }

  /** The `pil` that applies a batch now. */
  #pil(): number | null {
    for (const name of readdirSync('/proc')) {
      if (!/^[0-9]+$/.test(name)) continue;
      try {
        const words = readFileSync(`/proc/${name}/cmdline`, 'latin1').split('\0');
        if (words.includes(this.db) && words.some((word) => word.endsWith('/apply.l'))) {
          return Number(name);
        }
      } catch {
        // It ended between the two readings.
      }
    }
    return null;
  }

  /** Waits until a batch is partly in the database, so that its size is between two others. */
  async halfApplied(from: number, to: number): Promise<number> {
    let pid: number | null = null;
    await until('a batch is half applied', () => {
      const { size } = statSync(this.db);
      assert.ok(size < to, 'it was too fast to be seen');
      pid = size > from ? this.#pil() : null;
      return pid !== null;
    });
    assert.ok(pid !== null);
    return pid;
  }

  async stop(): Promise<void> {
    await this.writer.stop();
    await this.receiver.kill('SIGTERM');
  }
}

describe('examples/picolisp-apply, with the real PicoLisp', () => {
  test('the database of the receiver is that of the writer, byte for byte', async () => {
    const pair = await Pair.make();
    for (const objects of [1, 20, 3]) {
      await pair.writer.commit(objects, 100);
      await pair.shipJournal();
    }
    await pair.allApplied();
    assert.ok(sameFiles(pair.writer.db, pair.db));
    await pair.stop();
  });

  for (const killed of ['pil', 'the receiver', 'both'] as const) {
    test(`it still is after ${killed} was killed in the middle of a batch`, async () => {
      const pair = await Pair.make();
      await pair.writer.commit(1, 10);
      await pair.shipJournal();
      await pair.allApplied();
      const before = statSync(pair.db).size;
      await pair.writer.commit(4_000, 1_000);
      const after = statSync(pair.writer.db).size;
      await pair.shipJournal();
      const pil = await pair.halfApplied(before, after);
      if (killed !== 'pil') await pair.killReceiver();
      if (killed !== 'the receiver') await killPid(pil);
      assert.equal(pair.applied, 1);
      if (killed !== 'pil') await pair.startReceiver();
      await pair.writer.commit(5, 50);
      await pair.shipJournal();
      await pair.allApplied();
      assert.ok(sameFiles(pair.writer.db, pair.db));
      await pair.stop();
    });
  }

  test('a batch that is no journal is told, and what comes behind it is stored and waits', async () => {
    const pair = await Pair.make();
    await pair.writer.commit(1, 10);
    await pair.shipJournal();
    await pair.allApplied();
    // What kills replica.l. It is also a program, for whoever would read commands from it.
    await pair.send(Buffer.from(`(out "${pair.site.path('evil')}" (prinl "evil"))\n`));
    await pair.writer.commit(1, 10);
    await pair.shipJournal();
    await pair.receiver.line(/APPLY_FAILED/);
    const { storedBatches, appliedBatches, waitingBatches, lastError } = await pair.status();
    assert.deepEqual([storedBatches, appliedBatches, waitingBatches], [3, 1, 2]);
    assert.match(lastError ?? '', /exited with 1 at batch 2/);
    assert.equal(existsSync(pair.site.path('evil')), false);
    await pair.stop();
  });
});
