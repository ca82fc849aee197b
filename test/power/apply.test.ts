import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import { Random } from '../../chaos/random.js';
import { NO_RECEIVER_METER } from '../../src/common/meter.js';
import { Applier } from '../../src/receiver/apply.js';
import { BatchStore } from '../../src/receiver/batchStore.js';
import { makeFolder } from '../../src/receiver/dataFolder.js';
import { Intake } from '../../src/receiver/intake/intake.js';
import { type Fault, FaultyFileSystem, nameOf } from '../support/faultyFileSystem.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { memoryDir } from '../support/tempDir.js';
import { PowerCut } from './cut.js';
import { Disk, type Forgetful } from './disk.js';

const below = memoryDir();
failOnLeaks();

interface Outcome {
  /** What the command was given. */
  given: string;
  /** The file `applied` after a power cut that takes everything unsynced; null: it is not there. */
  kept: string | null;
}

/** Two batches for a command; then the applier has stopped, and the power is cut. */
async function applyTwo(fault: Fault | null, forgets?: Forgetful): Promise<Outcome> {
  const root = mkdtempSync(join(below, 'disk-'));
  const folder = join(root, 'foo.r');
  const out = join(below, `out-${root.slice(-6)}`);
  const disk = new Disk(root, forgets);
  const process = disk.process();
  for (const name of ['tmp', 'batches']) await makeFolder(process, join(folder, name));
  const intake = await Intake.open(root, process, pino({ level: 'silent' }));
  const store = await BatchStore.open({ app: 'foo.r', folder, fs: process, intake });
  for (const data of ['one,', 'two,']) {
    const incoming = await store.begin(4);
    await incoming.write(Buffer.from(data));
    await store.commit(incoming, null, null);
  }
  const fs = new FaultyFileSystem({ inner: process });
  if (fault !== null) fs.arm(fault);
  const applier = await Applier.start({
    app: 'foo.r',
    folder,
    command: ['sh', '-c', `cat >> ${out}`],
    store,
    fs,
    meter: NO_RECEIVER_METER,
    log: pino({ level: 'silent' }),
  });
  const given = () => {
    try {
      return readFileSync(out, 'latin1');
    } catch {
      return '';
    }
  };
  await until('both are applied', () => given().endsWith('two,'));
  await applier.stop(10_000);
  await intake.close(10_000);
  await store.close();
  assert.ok(fault === null || fs.hit, 'it has happened');
  assert.equal(fs.openHandles, 0, 'files left open');
  const later = join(below, `cut-${root.slice(-6)}`);
  new PowerCut(disk, disk.now, 'nothing', new Random('')).restore(later);
  let kept: string | null = null;
  try {
    kept = readFileSync(join(later, 'foo.r/applied'), 'latin1');
  } catch {
    // The whole folder, or only the file, was not durable.
  }
  return { given: given(), kept };
}

describe('the position of the apply command', { concurrency: 8 }, () => {
  test('survives a power cut as soon as the next command begins', async () => {
    assert.deepEqual(await applyTwo(null), { given: 'one,two,', kept: '2\n' });
  });

  for (const site of ['apply #note sync', 'apply #note syncDirectory']) {
    test(`needs each of its syncs: ${site}`, async () => {
      const { kept } = await applyTwo(null, (at) => at === site);
      assert.notEqual(kept, '2\n');
    });
  }

  // The first open is that of the batch, the second that of the position.
  const faults: Fault[] = [
    { operation: 'open', at: 1, code: 'EIO' },
    { operation: 'open', at: 2, code: 'ENOSPC' },
    { operation: 'write', at: 1, code: 'ENOSPC', short: true },
    { operation: 'datasync', at: 1, code: 'EIO' },
    { operation: 'rename', at: 1, code: 'ENOSPC' },
    { operation: 'syncDirectory', at: 1, code: 'EIO' },
  ];
  for (const fault of faults) {
    test(`that cannot be written costs a repeat and nothing else: ${nameOf(fault)}`, async () => {
      const { given, kept } = await applyTwo(fault);
      assert.match(given, /^(one,){1,2}two,$/);
      assert.equal(kept, '2\n');
    });
  }
});
