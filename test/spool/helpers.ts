/** What the spool tests share. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import type { Spool } from '../../src/producers/spool/spool.js';
import type { SpoolView } from '../../src/producers/spool/types.js';

/** A directory of the test's own, removed when it ends. */
export async function temporaryDirectory(t: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'ferry-test-'));
  t.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Seals `payload` inline, as a capture does, truncation and all. */
export async function sealInline(spool: Spool, payload: Buffer): Promise<number> {
  const sequence = spool.nextSequence;
  await spool.seal({ sequence, bytes: payload.length, sha256: sha256(payload), inode: 1, payload });
  spool.publish();
  await spool.recordTruncated(sequence);
  return sequence;
}

export async function payloadOf(spool: Spool, sequence: number): Promise<Buffer> {
  const batch = await spool.openBatch(sequence);
  const parts: Buffer[] = [];
  for await (const chunk of batch.read({ chunkBytes: 1000 })) parts.push(Buffer.from(chunk));
  await batch.close();
  return Buffer.concat(parts);
}

/** Everything that can be asked, for comparisons. */
export function stateOf(view: SpoolView) {
  return {
    journal: view.journal,
    stream: view.stream,
    streamSince: view.streamSince,
    lastSequence: view.lastSequence,
    capturedBytes: view.capturedBytes,
    waitingBytes: view.waitingBytes,
    settledThrough: view.settledThrough,
    truncated: view.truncated,
    trimMark: view.trimMark,
    batches: [...view.batchesAfter(0)],
    routes: [...view.routes()],
    blobs: [...view.pendingBlobs()],
    archivedThrough: view.archivedThrough,
    chainHead: view.chainHead,
    chainSince: view.chainSince,
    unfinished: [...view.unfinishedVerdicts()],
  };
}
