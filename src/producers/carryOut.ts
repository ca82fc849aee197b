import type { Ask, Done } from '../queue/asks.js';
import { type GiveUpParts, giveUp } from './giveUp.js';
import { planReplay, type ReplayParts, recordReplay } from './replay.js';

/**
 * Carries out what an operator asks for, by the one who may write to the spool. Of a replay only
 * the spool's word is made here; whoever feeds the route does the rest.
 *
 * @throws FerryError as `giveUp` and `planReplay`
 */
export async function carryOut(
  parts: GiveUpParts & ReplayParts,
  destination: string,
  ask: Ask,
): Promise<Done> {
  if (ask.what === 'skip') return giveUp(parts, destination, ask);
  const plan = await planReplay(parts, destination, ask);
  if (!ask.dry) await recordReplay(parts, destination, plan, ask);
  return plan;
}
