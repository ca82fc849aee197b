import { chained } from '../common/chain.js';
import { routeName } from '../common/identity.js';
import type { RouteMark, SpoolBatch, SpoolView } from '../producers/spool/types.js';
import { shown } from './chainLine.js';
import type { Findings, OnBytes } from './findings.js';
import { checkHeld, type HeldTrouble } from './heldBatches.js';
import type { ReadSpool } from './readSpool.js';
import type { Count, JournalProof, RouteProof } from './report.js';

const RESTORE =
  'check the disk and restore the file; else begin with a fresh spool and seed the replicas again';
const REPORT = 'this would be a mistake of ours: report it, with the spool’s log';

/**
 * What one journal's spool proves by itself: every held batch's bytes are those of its digest, the
 * chain runs through them to its head, and on every route
 *
 *     captured = confirmed + skipped + waiting
 *
 * in batches and in bytes, where what waits is counted batch by batch.
 *
 * @param wanted which routes are asked for
 * @returns null: nothing of it can be read
 */
export async function proveSpool(
  dir: string,
  journal: string,
  { view, tornBytes, damage }: ReadSpool,
  findings: Findings,
  options: { wanted: (route: string) => boolean; onBytes: OnBytes },
): Promise<{ journal: JournalProof; routes: RouteProof[] } | null> {
  const marks = [...(view?.routes() ?? [])].filter(({ destination }) =>
    options.wanted(routeName(journal, destination)),
  );
  const names = marks.map(({ destination }) => routeName(journal, destination));
  if (damage !== null) {
    const sequence = damage.context['sequence'];
    findings.differs({
      code: damage.code,
      routes: names,
      sequence: typeof sequence === 'number' ? sequence : null,
      what: damage.message,
      do: damage.hint ?? RESTORE,
    });
  }
  if (view === null) return null;
  if (tornBytes > 0 && damage === null) {
    findings.unchecked(
      journal,
      `the spool’s log ends in ${tornBytes} bytes that are no whole record`,
      'a crash tore them, or they are being written: the producer cuts them off at its start',
    );
  }
  const held = [...view.batchesAfter(0)];
  for (const trouble of await checkHeld(dir, view, options.onBytes)) {
    const { sequence } = trouble.batch;
    const needs = marks.filter((mark) => sequence > mark.acked);
    findings.differs({
      code: 'BATCH_CHANGED',
      routes: needs.map(({ destination }) => routeName(journal, destination)),
      sequence,
      what: describe(trouble, dir),
      do: needs.length === 0 ? `confirmed by all already; ${RESTORE}` : RESTORE,
    });
  }
  proveChain(view, held, names, findings);
  // Behind the damage stand facts that are not known here: sums would be those of another day.
  const routes = marks.map((mark) => proveRoute(view, mark, damage === null ? findings : null));
  return {
    journal: {
      journal,
      stream: view.stream,
      lastSequence: view.lastSequence,
      capturedBytes: view.capturedBytes,
      heldBatches: held.length,
      heldBytes: bytesOf(held),
      archived: null,
      chainSince: view.chainSince,
      chainHead: view.chainHead === '' ? null : view.chainHead,
    },
    routes,
  };
}

function describe({ batch, is }: HeldTrouble, dir: string): string {
  const { sequence, location } = batch;
  const where = `${dir}/${location.file}`;
  if (is === 'gone') return `batch ${sequence}: ${where} is gone`;
  if (is === 'short') return `batch ${sequence}: ${where} is shorter than the batch`;
  return `batch ${sequence}: its bytes in ${where} are not those that were captured`;
}

/** Each link with the one before, where that is held, and the last with the head. */
function proveChain(
  view: SpoolView,
  held: readonly SpoolBatch[],
  routes: string[],
  findings: Findings,
): void {
  for (const { sequence, sha256, chain = '' } of held) {
    if (sequence < view.chainSince) continue;
    const before = sequence === view.chainSince ? '' : view.batch(sequence - 1)?.chain;
    const linked = before === undefined ? chain !== '' : chained(before, sha256) === chain;
    const ends = sequence !== view.lastSequence || chain === view.chainHead;
    if (linked && ends) continue;
    const what = `batch ${sequence}: the chain of digests does not run through it`;
    findings.differs({ code: 'CHAIN_BROKEN', routes, sequence, what, do: REPORT });
  }
}

function proveRoute(view: SpoolView, mark: RouteMark, findings: Findings | null): RouteProof {
  const route = routeName(view.journal, mark.destination);
  const waiting: Count = { batches: 0, bytes: 0 };
  for (let sequence = mark.acked + 1; sequence <= view.lastSequence; sequence += 1) {
    const batch = view.batch(sequence);
    if (batch === undefined) {
      findings?.differs({
        code: 'BATCH_MISSING',
        routes: [route],
        sequence,
        what: `batch ${sequence} is not confirmed, and not in the spool`,
        do: 'seed this replica again from a copy, and report it',
      });
      continue;
    }
    waiting.batches += 1;
    waiting.bytes += batch.bytes;
  }
  const captured = {
    batches: view.lastSequence - mark.firstSequence + 1,
    bytes: view.capturedBytes - mark.baseBytes,
  };
  const confirmed = { batches: mark.ackedBatches, bytes: mark.ackedBytes };
  const skipped = { batches: mark.skippedBatches, bytes: mark.skippedBytes };
  for (const unit of ['batches', 'bytes'] as const) {
    const sum = confirmed[unit] + skipped[unit] + waiting[unit];
    if (sum === captured[unit]) continue;
    findings?.differs({
      code: 'SUM_DIFFERS',
      routes: [route],
      what: `${captured[unit]} ${unit} captured, but ${confirmed[unit]} confirmed + ${skipped[unit]} skipped + ${waiting[unit]} waiting = ${sum}`,
      do: REPORT,
    });
  }
  return {
    route,
    journal: view.journal,
    destination: mark.destination,
    orphaned: mark.orphaned,
    ...{ captured, confirmed, waiting, skipped },
    chain: shown(view.stream, mark.chain),
    redisAgrees: null,
    expected: null,
  };
}

function bytesOf(batches: Iterable<SpoolBatch>): number {
  let bytes = 0;
  for (const batch of batches) bytes += batch.bytes;
  return bytes;
}
