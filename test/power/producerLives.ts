/** Producers that live, are killed, and lose their power, as a seed says. */
import { Random } from '../../chaos/random.js';
import { MOODS, type Mood, PowerCut } from './cut.js';
import { type Forgetful, saidWith } from './disk.js';
import { Producer, type ProducerOptions, ProducerWorld, recoverAndCheck } from './producer.js';

const KB = 1024;

export interface Variant {
  name: string;
  options: ProducerOptions;
  steps(producer: Producer): Promise<void>;
}

async function smallBatches(p: Producer): Promise<void> {
  for (const bytes of [100, 9000, 20_000, 300]) {
    await p.append(bytes);
    await p.append(5000);
    await p.captureAll();
    await p.blobsAndGeneration();
    if (p.spool.lastSequence > 1) await p.ack(p.spool.lastSequence - 1);
    if (bytes === 20_000) await p.settle();
  }
}

/** Nothing but seals that needs a sync: the log of the spool itself is left behind. */
async function manySeals(p: Producer): Promise<void> {
  for (const bytes of [100, 3000, 5000, 40, 7000, 60, 2000, 30]) {
    await p.append(bytes);
    await p.captureAll();
    if (bytes === 40) await p.settle();
    if (bytes === 60) await p.ack(p.spool.lastSequence - 2);
  }
}

async function rollingSegments(p: Producer): Promise<void> {
  // The large one is in a file of its own: then nothing in the first segment is needed.
  for (const bytes of [240, 240, 240, 240, 240, 260, 2]) {
    await p.append(bytes * KB);
    await p.captureAll();
    await p.settle();
    await p.ack();
  }
}

export const VARIANTS: readonly Variant[] = [
  {
    name: 'small batches in the log, several settled by one sync',
    options: {},
    steps: smallBatches,
  },
  {
    name: 'large batches in files of their own, and freed',
    options: {},
    async steps(p) {
      for (const bytes of [260 * KB, 2000, 270 * KB]) {
        await p.append(bytes);
        await p.captureAll();
        await p.settle();
        await p.ack();
      }
    },
  },
  {
    name: 'journals whose front is released before the lock',
    options: { trimAboveBytes: 64 * KB },
    async steps(p) {
      for (const bytes of [260 * KB, 2000, 270 * KB]) {
        await p.append(bytes);
        await p.captureAll();
        await p.ack();
      }
    },
  },
  {
    name: 'segments that roll and go',
    options: {},
    steps: rollingSegments,
  },
  {
    name: 'small batches in a shared seal log, other facts between them',
    options: { sealsFileBytes: 1000 * KB },
    steps: smallBatches,
  },
  {
    name: 'small batches in a shared seal log, which fills and is freed',
    options: { sealsFileBytes: 8 * KB },
    steps: manySeals,
  },
  {
    name: 'segments that roll and go, and a shared seal log',
    options: { sealsFileBytes: 500 * KB },
    steps: rollingSegments,
  },
];

/** A disk on which a producer has gone through all the steps. */
export async function wholeLife(
  below: string,
  variant: Variant,
  forgets?: Forgetful,
): Promise<{ world: ProducerWorld; calls: number }> {
  const world = ProducerWorld.fresh(below, { ...variant.options, ...(forgets && { forgets }) });
  const producer = new Producer(world);
  await producer.live(variant.steps);
  return { world, calls: producer.process.calls };
}

/** One power cut at a tick of this world, and recovery on what it leaves. */
export async function cutAndCheck(
  world: ProducerWorld,
  tick: number,
  mood: Mood,
  seed: string,
): Promise<void> {
  await saidWith(world.disk, tick, `${mood}, seed ${seed}`, async () => {
    const later = await world.afterCut(
      new PowerCut(world.disk, tick, mood, new Random(seed)),
      tick,
    );
    await recoverAndCheck(later);
    later.remove();
  });
}

/** Life, kill, the writer goes on, a successor, a power cut: up to three times, then the check. */
export async function someLives(
  below: string,
  variant: Variant,
  seed: string,
  forgets?: Forgetful,
): Promise<void> {
  const random = new Random(seed);
  let world = ProducerWorld.fresh(below, { ...variant.options, ...(forgets && { forgets }) });
  for (let cuts = random.integer(1, 3); cuts > 0; cuts -= 1) {
    const before = world.disk.now;
    for (let lives = random.integer(1, 2); lives > 0; lives -= 1) {
      const killAt = random.chance(0.2) ? undefined : random.integer(1, 40);
      await new Producer(world, killAt).live(variant.steps);
      // Nobody appends between a power cut and the recovery: that is an open case.
      if (random.chance(0.5) && world.recovered) await world.append(random.integer(1, 9000));
    }
    const tick = random.integer(before, world.disk.now);
    const mood = MOODS[random.integer(0, MOODS.length - 1)] ?? 'random';
    world = await saidWith(world.disk, tick, `${mood}, seed ${seed}`, () =>
      world.afterCut(new PowerCut(world.disk, tick, mood, random), tick),
    );
    // Two right answers: the check finds out which one it was.
    if (world.orElse !== null) break;
  }
  const last = world;
  await saidWith(last.disk, last.disk.now, `recovery, seed ${seed}`, () => recoverAndCheck(last));
}
