import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Sample } from '../harness/comparison.js';
import { type Bench, msBetween } from '../harness/lab.js';
import { type Contender, type Pair, type Side, Sides } from './contender.js';
import { type Arrived, judge, LINE_BYTES } from './lines.js';

const LOOK_MS = 10;
/** The first line may wait for a delay, a retry, a handshake. */
const FIRST_MS = 60_000;
/** Who is not through by then is measured by what has arrived. */
const BURST_MS = 10_000;

/** Lines per second while commits go on under kills: few enough for the slowest. */
const RATE = 100;
/**
 * After a kill, until something new has arrived (a job of ours comes back when BullMQ misses its
 * worker: some 15 s); then somewhat longer, at random.
 */
const FLOW_MS = 40_000;
const BEFORE_KILL_MAX_MS = 500;
/** Healing: over when everything has arrived, or nothing for longer than any of them waits. */
const STILL_MS = 25_000;
const HEAL_MS = 120_000;
/** What is sent twice comes right behind. */
const REPEAT_MS = 2_000;

/** What is left of the lines that were written. */
export interface Survived extends Arrived {
  written: number;
  /** Lines still came when nobody waited any more: what is missing need not be lost. */
  isLate: boolean;
}

/** Waits until so many bytes have arrived; false at the deadline. */
async function reaches(pair: Pair, bytes: number, withinMs: number): Promise<boolean> {
  const deadline = performance.now() + withinMs;
  while (pair.receivedBytes() < bytes) {
    if (performance.now() > deadline) return false;
    await sleep(LOOK_MS);
  }
  return true;
}

async function started(pair: Pair): Promise<Sides> {
  const sides = new Sides(pair);
  await sides.start('receiver');
  await sides.start('sender');
  return sides;
}

/** Lines that are there at once, until they are all in the receiver's file. */
export async function burst(bench: Bench, contender: Contender, lines: number): Promise<Sample> {
  const pair = await contender.prepare(bench);
  const sides = await started(pair);
  try {
    await bench.program('lines', [pair.journal, '1', '1', '0']).line(/"last":1}/);
    if (!(await reaches(pair, LINE_BYTES, FIRST_MS))) {
      throw new Error(`${contender.name}: not one line arrived within ${FIRST_MS} ms`);
    }
    const writer = bench.program('lines', [pair.journal, '2', `${lines - 1}`, '0']);
    const [, begun = '0'] = await writer.line(/"begun":"(\d+)"/);
    await reaches(pair, lines * LINE_BYTES, BURST_MS);
    const seconds = msBetween(BigInt(begun), process.hrtime.bigint()) / 1_000;
    const arrived = Math.floor(pair.receivedBytes() / LINE_BYTES) - 1;
    return {
      'lines/s': arrived / seconds,
      'MB/s': (arrived * LINE_BYTES) / 1e6 / seconds,
    };
  } finally {
    await sides.end();
  }
}

/** What is left after so many kills, half of them of each side, while lines are written. */
export async function underKills(
  bench: Bench,
  contender: Contender,
  kills: number,
  say: (line: string) => void,
): Promise<Survived> {
  const pair = await contender.prepare(bench);
  const sides = await started(pair);
  try {
    const endless = `${Number.MAX_SAFE_INTEGER}`;
    const writer = bench.program('lines', [pair.journal, '1', endless, `${RATE}`]);
    for (let n = 0; n < kills; n += 1) {
      // There is traffic to interrupt, where it still flows.
      await reaches(pair, pair.receivedBytes() + LINE_BYTES, FLOW_MS);
      await sleep(randomInt(BEFORE_KILL_MAX_MS));
      const side: Side = n % 2 === 0 ? 'sender' : 'receiver';
      await sides.kill(side);
      await sides.start(side);
    }
    writer.signal('SIGTERM');
    const written = Number((await writer.line(/"last":(\d+)/))[1]);
    const isLate = !(await healed(pair, written));
    const arrived = judge(pair.received(), written);
    const { lost, duplicated, reordered, torn } = arrived;
    say(
      `${contender.name}: ${written} lines, ${kills} kills: lost ${lost}${isLate ? ' (still arriving)' : ''}, duplicated ${duplicated}, reordered ${reordered}, torn ${torn}`,
    );
    return { ...arrived, written, isLate };
  } finally {
    await sides.end();
  }
}

/** Everything has arrived, or nobody brings any more; false: neither, and the time is over. */
async function healed(pair: Pair, written: number): Promise<boolean> {
  const deadline = performance.now() + HEAL_MS;
  let bytes = -1;
  let since = performance.now();
  let isOver = false;
  while (!isOver && performance.now() < deadline) {
    const now = pair.receivedBytes();
    if (now !== bytes) {
      bytes = now;
      since = performance.now();
      // Sizes alone say nothing where lines may come twice.
      isOver = now >= written * LINE_BYTES && judge(pair.received(), written).lost === 0;
    } else isOver = performance.now() - since >= STILL_MS;
    await sleep(LOOK_MS * 10);
  }
  await sleep(REPEAT_MS);
  return isOver;
}
