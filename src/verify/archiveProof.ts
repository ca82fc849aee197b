import { chained } from '../common/chain.js';
import { type ArchivedBatch, deliveredDir } from '../producers/archive/archiveFiles.js';
import { archivedBatches } from '../producers/archive/archiveReader.js';
import type { SpoolView } from '../producers/spool/types.js';
import type { Findings, OnBytes } from './findings.js';
import { compareBytes, type HeldTrouble } from './heldBatches.js';
import type { Count } from './report.js';

/**
 * What the archive keeps of a journal's delivered batches: their bytes against their digests, and
 * the chain through them, on to what the spool still holds. What is pruned meanwhile is no trouble.
 */
export async function proveArchive(
  stateDir: string,
  view: SpoolView,
  findings: Findings,
  onBytes: OnBytes,
): Promise<Count> {
  const dir = deliveredDir(stateDir, view.journal);
  const kept: Count = { batches: 0, bytes: 0 };
  let before: ArchivedBatch | null = null;
  for await (const line of archivedBatches(dir, 1, Number.MAX_SAFE_INTEGER)) {
    const { sequence } = line;
    let is = await compareBytes(dir, line, onBytes);
    if (is !== null) {
      const now = await lineOf(dir, sequence);
      is = now === null ? null : await compareBytes(dir, now, () => undefined);
    }
    kept.batches += 1;
    kept.bytes += line.bytes;
    if (is !== null) {
      findings.differs({
        ...{ code: 'ARCHIVE_CHANGED', sequence },
        what: `journal ${view.journal}, batch ${sequence}: ${WHAT[is]} (${dir}/${line.location.file})`,
        do: 'what was delivered is not touched by it, but a replay must begin behind it; check the disk',
      });
    }
    if (!isLinked(before, line, view)) {
      findings.differs({
        ...{ code: 'CHAIN_BROKEN', sequence },
        what: `journal ${view.journal}, batch ${sequence}: the chain of digests does not run through the archive`,
        do: 'the archive was changed, or it is another spool’s: do not replay from it',
      });
    }
    before = line;
  }
  return kept;
}

const WHAT: Readonly<Record<HeldTrouble['is'], string>> = {
  gone: 'its file in the archive is gone',
  short: 'its file in the archive ends too early',
  changed: 'its bytes in the archive are not those that were delivered',
};

/** null: it has been pruned. */
async function lineOf(dir: string, sequence: number): Promise<ArchivedBatch | null> {
  for await (const line of archivedBatches(dir, sequence, sequence)) return line;
  return null;
}

/** With the line before it, and with the spool's batches where they are still held. */
function isLinked(before: ArchivedBatch | null, line: ArchivedBatch, view: SpoolView): boolean {
  const { sequence, sha256, chain } = line;
  // Of a version without chains, or of a spool that began anew under this name.
  if (chain === '' || line.stream !== view.stream) return true;
  if (before?.sequence === sequence - 1 && before.chain !== '' && before.stream === line.stream) {
    if (chained(before.chain, sha256) !== chain) return false;
  }
  const held = view.batch(sequence);
  if (held !== undefined && (held.sha256 !== sha256 || held.chain !== chain)) return false;
  const next = view.batch(sequence + 1);
  return next?.chain === undefined || chained(chain, next.sha256) === next.chain;
}
