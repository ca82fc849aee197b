/**
 * The tests of power cuts can fail: whichever sync of the product is left out, a cut shows it. A
 * sync that is new in the product, and that no row names, fails here too.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Random } from '../../chaos/random.js';
import { failOnLeaks } from '../support/leaks.js';
import { memoryDir } from '../support/tempDir.js';
import { type Mood, PowerCut } from './cut.js';
import { cutAndCheck, VARIANTS, type Variant, wholeLife } from './producerLives.js';
import {
  otherApp,
  ReceiverProcess,
  ReceiverWorld,
  receiverRepeats,
  receiverSteps,
  receiverVersion,
} from './receiver.js';
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

interface ReceiverRow {
  /** The sync before which a receiver is killed whose successor then lacks the one of the row. */
  killedBefore?: string;
  /** That successor serves another app; before it the power is cut, or not. */
  thenOther?: 'killed' | 'cut';
  steps?: (receiver: ReceiverProcess) => Promise<void>;
}

const RECEIVER: Readonly<Record<string, ReceiverRow>> = {
  'dataFolder makeFolder syncDirectory': {},
  'recordLog open sync': { killedBefore: 'recordLog write datasync', steps: receiverVersion },
  'recordLog open syncDirectory': {},
  'recordLog write datasync': {},
  'recordLog settle datasync': {},
  'recordLog mend sync': { thenOther: 'cut' },
  'incoming finish sync': {},
  'batchStore anonymous syncDirectory': {},
  'batchStore settle syncDirectory': {},
  'blobStore #makeDurable syncDirectory': {},
  'blobStore #place syncDirectory': {},
  'segment append datasync': {},
  'segment append syncDirectory': {},
  'settling settle datasync': {},
  'leftovers contentOf datasync': { killedBefore: 'segment append datasync' },
  'leftovers readLeftovers syncDirectory': { killedBefore: 'segment append syncDirectory' },
  'recovery makeFile datasync': { thenOther: 'cut' },
  'recovery isWhole datasync': { thenOther: 'killed' },
  'recovery recoverApp syncDirectory': { thenOther: 'cut' },
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
  for (const [site, row] of Object.entries(RECEIVER)) {
    test(`by the receiver: ${site}`, async () => {
      const world = await livesWithout(site, row);
      const cut = (tick: number, mood: Mood) => cutAndCheckReceiver(world, tick, mood, `${tick}`);
      assert.ok(await noticed(world.disk, cut));
    });
  }
});

async function livesWithout(site: string, row: ReceiverRow): Promise<ReceiverWorld> {
  const { killedBefore, thenOther, steps = receiverRepeats } = row;
  let world = ReceiverWorld.fresh(below, (at) => at === site);
  if (thenOther !== undefined) {
    await new ReceiverProcess(world).live(receiverSteps);
    if (thenOther === 'cut') {
      const { disk } = world;
      world = world.afterCut(new PowerCut(disk, disk.now, 'nothing', new Random(site)), disk.now);
    }
    await otherApp(world);
    return world;
  }
  if (killedBefore === undefined) {
    await new ReceiverProcess(world).live(receiverSteps);
    return world;
  }
  await new ReceiverProcess(world, killedBefore).live(steps);
  await new ReceiverProcess(world).live(steps);
  return world;
}

test('every sync that is asked for has its row', async () => {
  const seen = new Set<string>();
  for (const variant of VARIANTS) {
    for (const site of (await wholeLife(below, variant)).world.disk.sites) seen.add(site);
  }
  const { world } = await wholeReceiverLife(below);
  for (const site of world.disk.sites) seen.add(site);
  for (const thenOther of ['killed', 'cut'] as const) {
    const taken = await livesWithout('', { thenOther });
    for (const site of taken.disk.sites) seen.add(site);
  }
  const rows = new Set([...Object.keys(PRODUCER), ...Object.keys(RECEIVER)]);
  assert.deepEqual(
    [...seen].filter((site) => !rows.has(site)),
    [],
  );
});
