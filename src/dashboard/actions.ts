import { FerryError } from '../common/errors.js';
import type { Logger } from '../common/logger.js';
import type { FerryConfig } from '../config/model.js';
import { haveDone } from '../operator/carryOut.js';
import { redisNotRunning } from '../operator/notRunning.js';
import { applyVerdict, type VerdictKind } from '../operator/verdicts.js';
import type { QueueAccess } from '../queue/access.js';
import type { SkipAsk } from '../queue/asks.js';

const DONE: Readonly<Record<VerdictKind, string>> = {
  pause: 'paused',
  resume: 'resumed',
  replay: 'tried again',
};

interface ActParts {
  config: FerryConfig;
  access: QueueAccess;
  log: Logger;
  /** Who clicks, for the audit log. */
  by: string;
}

export type ActionKind = VerdictKind | 'skip';

export function isAction(kind: string): kind is ActionKind {
  return kind === 'skip' || Object.hasOwn(DONE, kind);
}

/**
 * What an operator's click says, said to the same functions as `ferry pause` and the others.
 *
 * @param form fields `route`, and for skip `sequence` (a number, or `all`) and `reason`
 * @returns a sentence for the page
 * @throws FerryError as `applyVerdict` and `haveDone`; USAGE when something is missing
 */
export async function act(
  { config, access, log, by }: ActParts,
  kind: ActionKind,
  form: Readonly<Record<string, unknown>>,
): Promise<string> {
  const route = text(form['route']);
  if (route === '') throw usage('no route is named', 'reload the page');
  // The commands would wait for it; whoever clicks need not.
  const { facts, refusal } = access.scripts;
  if (facts === null) throw refusal ?? redisNotRunning('Redis cannot be reached');
  if (kind !== 'skip') {
    const routes = await applyVerdict(config, log, kind, route, { by });
    return `${routes.join(', ')}: ${DONE[kind]}`;
  }
  const reason = text(form['reason']);
  if (reason === '') throw usage('there is no reason', 'say why, for the audit log');
  const sequence = text(form['sequence']);
  if (sequence !== 'all' && !/^[1-9]\d{0,9}$/.test(sequence)) {
    throw usage('which batch is to be given up?', 'reload the page');
  }
  const number = sequence === 'all' ? null : Number(sequence);
  const wish = { what: 'skip', sequence: number, reason } as const;
  const given = await haveDone<SkipAsk>(config, log, route, wish, { by });
  return number === null
    ? `${given.route}: dropped, ${given.batches} batches (${given.bytes} bytes) given up`
    : `${given.route}: batch ${number} (${given.bytes} bytes) given up, kept as ${given.kept}`;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value.trim() : '';
}

function usage(message: string, hint: string): FerryError {
  return new FerryError('USAGE', message, { kind: 'usage', hint });
}
