import type { ReceiverMeter } from '../common/meter.js';
import type { ReceiverConfig } from '../config/model.js';
import { ANSWERS, type Answer, refusedIdentity } from './answers.js';
import type { Apps, OpenApp } from './apps.js';
import type { BatchStore } from './batchStore.js';
import type { BlobClaim, BlobStore } from './blobStore.js';
import type { Claim, RefusalReason } from './identity.js';
import type { Incoming } from './incoming.js';
import type { Announced, RequestHead } from './request.js';

/** What one request delivers, from its announcement to its commit. */
export interface Delivery {
  /** False: the dialect knows no answer for it. */
  readonly answered: boolean;
  /** For the log. */
  readonly description: Readonly<Record<string, unknown>>;
  /** @returns a refusal when a limit is exceeded */
  write(data: Buffer): Promise<Answer | null>;
  /** Durable when it resolves with null. @throws FerryError STORE_FAILED, BLOB_PATH_REFUSED */
  commit(): Promise<{ reason: RefusalReason; last: number } | null>;
  discard(): Promise<void>;
  /** Says what it was, once it is committed. */
  count(meter: ReceiverMeter, app: string): void;
}

export interface DeliveryParts {
  apps: Apps;
  limits: ReceiverConfig['limits'];
}

/** Opens the place for a body, unless limits or identity forbid it already. */
export async function openDelivery(
  parts: DeliveryParts,
  head: RequestHead,
  body: Announced,
): Promise<{ delivery: Delivery } | { refused: Answer }> {
  const { maxBatchBytes, maxBlobBytes } = parts.limits;
  const max = (body.kind === 'batch' ? maxBatchBytes : maxBlobBytes) ?? Number.POSITIVE_INFINITY;
  if ((body.bytes ?? 0) > max) return { refused: ANSWERS['too-large'] };
  const app = await parts.apps.open(head.app);
  return body.kind === 'batch'
    ? openBatch(app, head, body.bytes)
    : openBlob(app, head, body.path, body.bytes, max);
}

async function openBatch(
  { batches }: OpenApp,
  head: RequestHead,
  bytes: number,
): Promise<{ delivery: Delivery } | { refused: Answer }> {
  const claim: Claim | null = head.identity?.kind === 'batch' ? head.identity : null;
  if (bytes === 0) {
    if (claim !== null) return { refused: refusedIdentity('empty', 0) };
    // bin/ssl's peers answer an empty journal with `T` too; there is nothing to keep.
    return { delivery: new BatchDelivery(batches, null, null, null) };
  }
  const foreseen = claim === null ? { is: 'store' as const } : await batches.foresee(claim);
  if (foreseen.is === 'refused') {
    return { refused: refusedIdentity(foreseen.reason, foreseen.last) };
  }
  const incoming = foreseen.is === 'store' ? await batches.begin() : batches.beginUnkept();
  return { delivery: new BatchDelivery(batches, incoming, claim, head.sha256) };
}

async function openBlob(
  { blobs }: OpenApp,
  head: RequestHead,
  path: string,
  bytes: number | null,
  max: number,
): Promise<{ delivery: Delivery }> {
  const claim: BlobClaim | null = head.identity?.kind === 'blob' ? head.identity : null;
  const known = claim !== null && blobs.foresee(path, claim) === 'duplicate';
  const incoming = known ? blobs.beginUnkept() : await blobs.begin();
  return { delivery: new BlobDelivery(blobs, incoming, path, claim, head.sha256, bytes, max) };
}

class BatchDelivery implements Delivery {
  readonly answered = true;
  #description: Readonly<Record<string, unknown>> = {};
  #verdict: 'stored' | 'duplicate' | null = null;

  constructor(
    private readonly batches: BatchStore,
    private readonly incoming: Incoming | null,
    private readonly claim: Claim | null,
    private readonly sha256: string | null,
  ) {}

  get description(): Readonly<Record<string, unknown>> {
    return this.#description;
  }

  async write(data: Buffer): Promise<null> {
    await this.incoming?.write(data);
    return null;
  }

  async commit(): Promise<{ reason: RefusalReason; last: number } | null> {
    if (this.incoming === null) return null;
    const { claim, incoming } = this;
    const verdict = await this.batches.commit(incoming, claim, this.sha256);
    this.#verdict = verdict.is === 'refused' ? null : verdict.is;
    this.#description = { batch: verdict, bytes: incoming.bytes, sequence: claim?.sequence };
    return verdict.is === 'refused' ? verdict : null;
  }

  async discard(): Promise<void> {
    await this.incoming?.discard();
  }

  count(meter: ReceiverMeter, app: string): void {
    if (this.#verdict === 'duplicate') meter.duplicate(app);
    if (this.#verdict === 'stored') meter.stored(app, { bytes: this.incoming?.bytes ?? 0 });
  }
}

class BlobDelivery implements Delivery {
  readonly answered: boolean;
  #verdict: 'stored' | 'duplicate' | 'corrupted' | null = null;

  constructor(
    private readonly blobs: BlobStore,
    private readonly incoming: Incoming,
    private readonly path: string,
    private readonly claim: BlobClaim | null,
    private readonly sha256: string | null,
    bytes: number | null,
    private readonly max: number,
  ) {
    this.answered = bytes !== null;
  }

  get description(): Readonly<Record<string, unknown>> {
    return { blob: this.path, bytes: this.incoming.bytes, version: this.claim?.version };
  }

  async write(data: Buffer): Promise<Answer | null> {
    // Without an announced length the limit shows only on the way.
    if (this.incoming.bytes + data.length > this.max) return ANSWERS['too-large'];
    await this.incoming.write(data);
    return null;
  }

  async commit(): Promise<{ reason: RefusalReason; last: number } | null> {
    const verdict = await this.blobs.commit(this.incoming, this.path, this.claim, this.sha256);
    this.#verdict = verdict;
    return verdict === 'corrupted' ? { reason: 'corrupted', last: 0 } : null;
  }

  discard(): Promise<void> {
    return this.incoming.discard();
  }

  count(meter: ReceiverMeter, app: string): void {
    if (this.#verdict === 'duplicate') meter.duplicate(app);
    if (this.#verdict === 'stored') meter.storedBlob(app, this.incoming);
  }
}
