/** How much is tried: in `npm test` a little of everything; more with `FERRY_POWER_ROUNDS=50`. */
import { MOODS, type Mood } from './cut.js';

export const ROUNDS = Math.max(1, Number(process.env['FERRY_POWER_ROUNDS'] ?? 1));

/** Moments all over a life, each in one mood; another round has others. */
export function* moments(
  ticks: number,
  perRound: number,
): Generator<{ tick: number; mood: Mood; seed: string }> {
  const step = Math.max(1, ticks / perRound);
  for (let round = 0; round < ROUNDS; round += 1) {
    let turn = round;
    for (let at = (round / ROUNDS) * step; at <= ticks; at += step) {
      const mood = MOODS[turn % MOODS.length] ?? 'random';
      turn += 1;
      yield { tick: Math.round(at), mood, seed: `${round} ${turn}` };
    }
  }
}
