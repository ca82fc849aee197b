import type { ReceiverMeter } from '../common/meter.js';
import type { ReceiverConfig } from '../config/model.js';
import { ANSWERS, type Answer, refusedIdentity } from './answers.js';
import type { Apps, OpenApp } from './apps.js';
import type { IncomingBatch } from './batchStore.js';
import type { BlobClaim } from './blobStore.js';
import type { Claim } from './identity.js';
import type { Incoming } from './incoming.js';
import type { Announced, RequestHead } from './request.js';
import type { Room } from './storedBytes.js';

/** What one request delivers, from its announcement to its commit. */
export interface Delivery {
  /** False: the dialect knows no answer for it. */
  readonly answered: boolean;
  /** A limit of the app holds it back at this moment. */
  readonly isPaced: boolean;
  /** For the log. */
  readonly description: Readonly<Record<string, unknown>>;
  /** @returns a refusal when a limit is exceeded */
  write(data: Buffer): Promise<Answer | null>;
  /**
   * Durable when it resolves with null; with `ack: applied` also applied.
   * @returns why it may not be confirmed
   * @throws FerryError STORE_FAILED, BLOB_PATH_REFUSED
   */
  commit(): Promise<Answer | null>;
  discard(): Promise<void>;
  /** Says what it was, once its commit is over. */
  count(meter: ReceiverMeter, app: string): void;
}

export interface DeliveryParts {
  apps: Apps;
  limits: ReceiverConfig['limits'];
}

type Opened = { delivery: Delivery } | { refused: Answer };

/** What deliveries of both kinds need. */
interface Request {
  app: OpenApp;
  head: RequestHead;
  maxBytes: number;
  /** The client is gone, or has got its answer. */
  left: Pick<AbortController, 'signal'>;
}

/** Opens the place for a body, unless limits or identity forbid it already. */
export async function openDelivery(
  parts: DeliveryParts,
  head: RequestHead,
  body: Announced,
  left: Pick<AbortController, 'signal'>,
): Promise<Opened> {
  const { maxBatchBytes, maxBlobBytes } = parts.limits;
  const maxBytes = (body.kind === 'batch' ? maxBatchBytes : maxBlobBytes) ?? Infinity;
  if ((body.bytes ?? 0) > maxBytes) return { refused: ANSWERS['too-large'] };
  const app = await parts.apps.open(head.app);
  const refused = app.limits.admit();
  if (refused !== null) return { refused };
  const request: Request = { app, head, maxBytes, left };
  return body.kind === 'batch'
    ? openBatch(request, body.bytes)
    : openBlob(request, body.path, body.bytes);
}

async function openBatch(request: Request, bytes: number): Promise<Opened> {
  const { batches } = request.app;
  const { identity } = request.head;
  const claim = identity?.kind === 'batch' ? identity : null;
  if (bytes === 0) {
    if (claim !== null) return { refused: refusedIdentity('empty', 0) };
    // bin/ssl's peers answer an empty journal with `T` too; there is nothing to keep.
    return { delivery: new BatchDelivery(request, null, null, null) };
  }
  const foreseen = claim === null ? { is: 'store' as const } : await batches.foresee(claim);
  if (foreseen.is === 'refused') {
    return { refused: refusedIdentity(foreseen.reason, foreseen.last) };
  }
  const keep = foreseen.is === 'store';
  const place = await openPlace<IncomingBatch>(request, keep, bytes, batches);
  if (place === null) return { refused: ANSWERS['app-full'] };
  return { delivery: new BatchDelivery(request, place.incoming, place.room, claim) };
}

async function openBlob(request: Request, path: string, bytes: number | null): Promise<Opened> {
  const { blobs } = request.app;
  const { identity } = request.head;
  const claim = identity?.kind === 'blob' ? identity : null;
  const known = claim !== null && blobs.foresee(path, claim) === 'duplicate';
  const place = await openPlace(request, !known, bytes, blobs);
  if (place === null) return { refused: ANSWERS['app-full'] };
  return { delivery: new BlobDelivery(request, place.incoming, place.room, path, claim, bytes) };
}

/** Room and a temporary file for what is to be kept; null: there is no room. */
async function openPlace<In extends IncomingBatch>(
  { app }: Request,
  keep: boolean,
  bytes: number | null,
  store: { begin(bytes: number): In | Promise<In>; beginUnkept(): In },
): Promise<{ incoming: In; room: Room | null } | null> {
  if (!keep) return { incoming: store.beginUnkept(), room: null };
  const { room } = app.limits;
  const reserved = room === null ? null : await room.reserve(bytes ?? 0);
  if (room !== null && reserved === null) return null;
  try {
    return { incoming: await store.begin(bytes ?? 0), room: reserved };
  } catch (error) {
    reserved?.release(false);
    throw error;
  }
}

/** What is the same for batches and blobs: the app's rate, and the end. */
abstract class Receiving {
  #paced = false;

  constructor(
    protected readonly request: Request,
    protected readonly incoming: IncomingBatch | null,
    protected readonly room: Room | null,
  ) {}

  get isPaced(): boolean {
    return this.#paced;
  }

  async write(data: Buffer): Promise<Answer | null> {
    await this.incoming?.write(data);
    this.#paced = true;
    await this.request.app.limits.pace(data.length, this.request.left);
    this.#paced = false;
    return null;
  }

  async discard(): Promise<void> {
    this.room?.release(false);
    await this.incoming?.discard();
  }
}

class BatchDelivery extends Receiving implements Delivery {
  readonly answered = true;
  #description: Readonly<Record<string, unknown>> = {};
  #verdict: 'stored' | 'duplicate' | null = null;

  constructor(
    request: Request,
    incoming: IncomingBatch | null,
    room: Room | null,
    private readonly claim: Claim | null,
  ) {
    super(request, incoming, room);
  }

  get description(): Readonly<Record<string, unknown>> {
    return this.#description;
  }

  async commit(): Promise<Answer | null> {
    const { claim, incoming } = this;
    if (incoming === null) return null;
    const { app, head, left } = this.request;
    const verdict = await app.batches.commit(incoming, claim, head.sha256);
    this.#description = { batch: verdict, bytes: incoming.bytes, sequence: claim?.sequence };
    if (verdict.is === 'refused') return refusedIdentity(verdict.reason, verdict.last);
    this.#verdict = verdict.is;
    this.room?.release(verdict.is === 'stored');
    if (app.ackWhenApplied === null) return null;
    // Who is known by his identity may come again and wait on; from others a batch that comes again
    // is a new one, so these are kept waiting.
    const end = await app.ackWhenApplied.whenApplied(verdict.number, {
      left: left.signal,
      untilFailed: claim !== null,
    });
    return end === 'applied' ? null : ANSWERS['not-applied'];
  }

  count(meter: ReceiverMeter, app: string): void {
    if (this.#verdict === 'duplicate') meter.duplicate(app);
    if (this.#verdict === 'stored') meter.stored(app, { bytes: this.incoming?.bytes ?? 0 });
  }
}

class BlobDelivery extends Receiving implements Delivery {
  readonly answered: boolean;
  #verdict: 'stored' | 'duplicate' | 'corrupted' | null = null;

  constructor(
    request: Request,
    protected override readonly incoming: Incoming,
    room: Room | null,
    private readonly path: string,
    private readonly claim: BlobClaim | null,
    bytes: number | null,
  ) {
    super(request, incoming, room);
    this.answered = bytes !== null;
  }

  get description(): Readonly<Record<string, unknown>> {
    return { blob: this.path, bytes: this.incoming.bytes, version: this.claim?.version };
  }

  override async write(data: Buffer): Promise<Answer | null> {
    // Without an announced length the limits show only on the way.
    if (this.incoming.bytes + data.length > this.request.maxBytes) return ANSWERS['too-large'];
    if (!this.answered && this.room?.grow(data.length) === false) return ANSWERS['app-full'];
    return super.write(data);
  }

  async commit(): Promise<Answer | null> {
    const { app, head } = this.request;
    const verdict = await app.blobs.commit(this.incoming, this.path, this.claim, head.sha256);
    this.#verdict = verdict;
    this.room?.release(verdict === 'stored');
    return verdict === 'corrupted' ? refusedIdentity('corrupted', 0) : null;
  }

  count(meter: ReceiverMeter, app: string): void {
    if (this.#verdict === 'duplicate') meter.duplicate(app);
    if (this.#verdict === 'stored') meter.storedBlob(app, this.incoming);
  }
}
