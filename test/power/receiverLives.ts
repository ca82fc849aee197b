/** Receivers that live, are killed, and lose their power, as a seed says. */
import { Random } from '../../chaos/random.js';
import { MOODS, type Mood, PowerCut } from './cut.js';
import { type Forgetful, saidWith } from './disk.js';
import {
  ReceiverProcess,
  ReceiverWorld,
  receiverSteps,
  recoverAndCheckReceiver,
} from './receiver.js';

export async function wholeReceiverLife(
  below: string,
  forgets?: Forgetful,
): Promise<{ world: ReceiverWorld; calls: number }> {
  const world = ReceiverWorld.fresh(below, forgets);
  const receiver = new ReceiverProcess(world);
  await receiver.live(receiverSteps);
  return { world, calls: receiver.process.calls };
}

/** One power cut at a tick of this world, and a receiver on what it leaves. */
export function cutAndCheckReceiver(
  world: ReceiverWorld,
  tick: number,
  mood: Mood,
  seed: string,
): Promise<void> {
  return saidWith(world.disk, tick, `${mood}, seed ${seed}`, async () => {
    const cut = new PowerCut(world.disk, tick, mood, new Random(seed));
    const later = world.afterCut(cut, tick);
    await recoverAndCheckReceiver(later);
    later.remove();
  });
}

/** Life, kill, a successor, a power cut: up to three times, then the check. */
export async function someReceiverLives(
  below: string,
  seed: string,
  forgets?: Forgetful,
): Promise<void> {
  const random = new Random(seed);
  let world = ReceiverWorld.fresh(below, forgets);
  for (let cuts = random.integer(1, 3); cuts > 0; cuts -= 1) {
    const before = world.disk.now;
    for (let lives = random.integer(1, 3); lives > 0; lives -= 1) {
      const killAt = random.chance(0.2) ? undefined : random.integer(1, 60);
      const { disk } = world;
      const life = new ReceiverProcess(world, killAt);
      await saidWith(disk, disk.now, `a life, seed ${seed}`, () => life.live(receiverSteps));
    }
    const tick = random.integer(before, world.disk.now);
    const mood = MOODS[random.integer(0, MOODS.length - 1)] ?? 'random';
    const cut = new PowerCut(world.disk, tick, mood, random);
    const earlier = world;
    world = await saidWith(earlier.disk, tick, `${mood}, seed ${seed}`, async () => {
      const later = earlier.afterCut(cut, tick);
      if (cuts === 1) await recoverAndCheckReceiver(later);
      return later;
    });
  }
}
