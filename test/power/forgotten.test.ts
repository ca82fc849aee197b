/**
 * The tests of power cuts can fail: whichever sync of the product is left out, a cut shows it. A
 * sync that is new in the product, and that no row names, fails here too.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import type { Mood } from './cut.js';
import { cutAndCheck, VARIANTS, type Variant, wholeLife } from './producerLives.js';
import { ReceiverProcess, ReceiverWorld, receiverRepeats, receiverSteps } from './receiver.js';
import { cutAndCheckReceiver, wholeReceiverLife } from './receiverLives.js';

const below = memoryDir();
failOnLeaks();

const [SMALL, LARGE, TRIMMED, ROLLING, , SEALS] = VARIANTS as readonly Variant[] as [
  Variant,
  Variant,
  Variant,
  Variant,
  Variant,
  Variant,
];

/** A sync of the product, and the life in which its absence is noticed. */
const PRODUCER: Readonly<Record<string, Variant>> = {
  'log #makeDurable datasync': SMALL,
  'log #syncNames syncDirectory': SMALL,
  'log #roll datasync': ROLLING,
  'log #roll syncDirectory': ROLLING,
  'partFile sync datasync': LARGE,
  'partFile sync syncDirectory': LARGE,
  'trim releasePrefix sync': TRIMMED,
  'capture anonymous sync': SMALL,
  'sealLog #share datasync': SEALS,
  'sealLog #syncNames syncDirectory': SEALS,
  'sealLog #syncSegment datasync': SEALS,
};

/** The sync before which a receiver is killed whose successor then lacks the one of the row. */
const RECEIVER: Readonly<Record<string, { killedBefore?: string }>> = {
  'dataFolder makeFolder syncDirectory': {},
  'recordLog open sync': { killedBefore: 'recordLog write datasync' },
  'recordLog open syncDirectory': {},
  'recordLog write datasync': {},
  'incoming finish sync': {},
  'batchStore anonymous syncDirectory': {},
  'blobStore #makeDurable syncDirectory': {},
  'blobStore #place syncDirectory': {},
};

const MOODS_TRIED: readonly Mood[] = ['nothing', 'names', 'random'];

/** The end of the life, where most is promised; then every moment that lacks the sync. */
async function noticed(
  disk: { now: number; log: readonly { is: string; begin: number }[] },
  cut: (tick: number, mood: Mood) => Promise<void>,
): Promise<boolean> {
  const first = disk.log.find(({ is }) => is === 'forgotten')?.begin;
  assert.ok(first !== undefined, 'it was not asked for');
  if (await fails(() => cut(disk.now, 'nothing'))) return true;
  for (let tick = first + 1; tick <= disk.now; tick += 1) {
    for (const mood of MOODS_TRIED) {
      if (await fails(() => cut(tick, mood))) return true;
    }
  }
  return false;
}

async function fails(work: () => Promise<void>): Promise<boolean> {
  return work().then(
    () => false,
    () => true,
  );
}

describe('a sync that the product leaves out is noticed', () => {
  for (const [site, variant] of Object.entries(PRODUCER)) {
    test(`by the producer: ${site}`, async () => {
      const { world } = await wholeLife(below, variant, (at) => at === site);
      const cut = (tick: number, mood: Mood) => cutAndCheck(world, tick, mood, `${tick}`);
      assert.ok(await noticed(world.disk, cut));
    });
  }
  for (const [site, { killedBefore }] of Object.entries(RECEIVER)) {
    test(`by the receiver: ${site}`, async () => {
      const world = ReceiverWorld.fresh(below, (at) => at === site);
      if (killedBefore !== undefined) {
        await new ReceiverProcess(world, killedBefore).live(receiverRepeats);
      }
      const steps = killedBefore === undefined ? receiverSteps : receiverRepeats;
      await new ReceiverProcess(world).live(steps);
      const cut = (tick: number, mood: Mood) => cutAndCheckReceiver(world, tick, mood, `${tick}`);
      assert.ok(await noticed(world.disk, cut));
    });
  }
});

test('every sync that is asked for has its row', async () => {
  const seen = new Set<string>();
  for (const variant of VARIANTS) {
    for (const site of (await wholeLife(below, variant)).world.disk.sites) seen.add(site);
  }
  const { world } = await wholeReceiverLife(below);
  for (const site of world.disk.sites) seen.add(site);
  const rows = new Set([...Object.keys(PRODUCER), ...Object.keys(RECEIVER)]);
  assert.deepEqual(
    [...seen].filter((site) => !rows.has(site)),
    [],
  );
});
