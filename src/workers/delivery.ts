import type { Logger } from 'pino';
import { Checksum } from '../common/digest.js';
import type { DestinationConfig, FerryConfig, WireDestination } from '../config/model.js';
import {
  connectionsSettled,
  H2Client,
  type SendRequest,
  type SendResult,
  send,
} from '../protocol/index.js';
import type { QueueAccess } from '../queue/access.js';
import { type BatchJob, type BlobJob, type BlobSent, YOUNG_BLOB_MS } from '../queue/jobs.js';
import { type PayloadStore, WHOLE_MAX_BYTES } from '../queue/payload/payloadStore.js';
import { RedisPayloads } from '../queue/payload/redisPayloads.js';
import { SpoolPayloads } from '../queue/payload/spoolPayloads.js';
import { TransferReader } from '../queue/payload/transferReader.js';
import { BlobAhead } from './blobAhead.js';
import { type OpenBlob, type OpenPayload, openBlobFile } from './blobFile.js';
import { Copies } from './copies.js';
import { resolveEndpoint } from './endpoint.js';
import { Preconnection } from './preconnection.js';
import { proven, provenWhole } from './provenPayload.js';

/** The rights of one send: looked at right before the commit byte, and ended by the signal. */
export interface SendRights {
  mayConfirm: () => boolean;
  signal: AbortSignal;
}

/** From a job to the far side: finds the payload wherever it is, and sends or copies it. */
export class Delivery {
  readonly #spool: PayloadStore;
  readonly #redis: PayloadStore;
  readonly #transfers: TransferReader;
  readonly #copies: Copies;
  readonly #h2 = new H2Client();
  readonly #log: Logger;

  constructor(config: FerryConfig, access: QueueAccess, log: Logger) {
    this.#log = log;
    this.#spool = new SpoolPayloads(config.stateDir);
    this.#copies = new Copies(config.stateDir);
    this.#redis = new RedisPayloads(access.data, access.keys);
    this.#transfers = new TransferReader(access.data, access.keys, access.subscriber);
  }

  /**
   * Begins what of a batch needs no right to send. Null: connections are kept or there are none, or
   * the payload has to be waited for first.
   *
   * @param signal the one that the send will have
   */
  preconnect(
    destination: DestinationConfig,
    batch: BatchJob,
    signal: AbortSignal,
  ): Preconnection | null {
    if (!connectsEachTime(destination) || batch.payload.kind === 'transfer') return null;
    return new Preconnection(destination, batch.journal, signal);
  }

  /** The same for a blob: its file is opened, too. */
  prepareBlob(
    destination: DestinationConfig,
    blob: BlobJob,
    signal: AbortSignal,
  ): BlobAhead | null {
    const { payload, text, journal } = blob;
    if (!connectsEachTime(destination) || payload.kind === 'transfer') return null;
    return new BlobAhead(openBlobFile(payload.path, text), destination, journal, signal);
  }

  /**
   * Sends a batch and returns when it is confirmed as the destination's `confirm` asks.
   *
   * @param previous the sequence confirmed before it on this route; 0 for none
   * @param ahead what `preconnect` began, if it is still to be used
   * @throws FerryError of `send`, `H2Client.send`, `resolveEndpoint`, `Copies` or the payload's source
   */
  async sendBatch(
    destination: DestinationConfig,
    batch: BatchJob,
    previous: number,
    rights: SendRights,
    ahead: Preconnection | null = null,
  ): Promise<void> {
    if (destination.kind === 'directories') {
      const payload = await this.#openBatch(batch, rights.signal);
      const put = this.#copies.putBatch(destination, batch, payload.chunks, rights.mayConfirm);
      return put.finally(() => payload.close().catch(() => undefined));
    }
    const begun = ahead?.usable() ?? null;
    const endpoint = await (begun?.endpoint ?? resolveEndpoint(destination, batch.journal));
    const payload = await this.#openBatch(batch, rights.signal);
    try {
      const result = await this.#send({
        endpoint,
        connection: begun?.take(),
        body: { kind: 'batch' },
        bytes: batch.bytes,
        payload: payload.chunks,
        ...(destination.identity && {
          identity: {
            stream: batch.stream,
            sequence: batch.sequence,
            previous,
            sha256: batch.sha256,
          },
        }),
        ...rights,
      });
      this.#log.debug(
        { route: batch.route, sequence: batch.sequence, bytes: batch.bytes, ...result },
        'sent',
      );
    } finally {
      await payload.close().catch(() => undefined);
    }
  }

  /**
   * Sends a blob from one open file, with exactly the length it had at open.
   *
   * @param ahead what `prepareBlob` began, if anything
   * @returns what was sent, for the comparison after its link is gone
   */
  async sendBlob(
    destination: DestinationConfig,
    blob: BlobJob,
    rights: SendRights,
    ahead: BlobAhead | null = null,
  ): Promise<BlobSent> {
    if (destination.kind === 'directories') return this.#copies.putBlob(destination, blob);
    const begun = (await ahead?.take()) ?? null;
    const payload = begun?.payload ?? (await this.#openBlob(blob, rights.signal));
    const young = Date.now() - payload.mtimeMs < YOUNG_BLOB_MS;
    const sum = young ? new Checksum() : null;
    try {
      const connection = begun?.connection;
      const endpoint = await (connection?.endpoint ?? resolveEndpoint(destination, blob.journal));
      await this.#send({
        endpoint,
        connection: connection?.take(),
        body: { kind: 'blob', path: blob.text },
        bytes: payload.bytes,
        payload: sum?.over(payload.chunks) ?? payload.chunks,
        ...(destination.identity && {
          identity: { stream: blob.stream, version: blob.version },
        }),
        ...rights,
      });
    } finally {
      begun?.connection.drop();
      await payload.close().catch(() => undefined);
    }
    return {
      inode: payload.inode,
      bytes: payload.bytes,
      mtimeMs: payload.mtimeMs,
      crc32: sum?.value ?? null,
    };
  }

  /** Ends what listens, and waits until every connection has said goodbye. */
  async close(): Promise<void> {
    this.#transfers.stop();
    await Promise.all([connectionsSettled(), this.#h2.close()]);
  }

  #send(request: SendRequest): Promise<SendResult> {
    return request.endpoint.dialect === 'h2' ? this.#h2.send(request) : send(request);
  }

  async #openBatch(batch: BatchJob, signal: AbortSignal): Promise<OpenPayload> {
    switch (batch.payload.kind) {
      case 'spool':
      case 'archive':
        return readFrom(this.#spool, batch);
      case 'chunks':
        return readFrom(this.#redis, batch);
      case 'transfer': {
        const { journal, stream, sequence } = batch;
        const subject = { kind: 'batch', journal, stream, sequence } as const;
        const transfer = await this.#transfers.open(subject, signal);
        const chunks = proven(batch, transfer.chunks());
        return { bytes: transfer.bytes, chunks, close: () => transfer.close() };
      }
    }
  }

  async #openBlob(blob: BlobJob, signal: AbortSignal): Promise<OpenBlob> {
    if (blob.payload.kind === 'file') return openBlobFile(blob.payload.path, blob.text);
    const { journal, stream, link, text } = blob;
    const subject = { kind: 'blob', journal, stream, link, text } as const;
    const transfer = await this.#transfers.open(subject, signal);
    return {
      bytes: transfer.bytes,
      inode: transfer.inode,
      mtimeMs: transfer.mtimeMs,
      chunks: transfer.chunks(),
      close: () => transfer.close(),
    };
  }
}

/** Directories have no connections, and HTTP/2 keeps one. */
function connectsEachTime(to: DestinationConfig): to is WireDestination {
  return to.kind === 'wire' && to.dialect !== 'h2';
}

function readFrom(store: PayloadStore, batch: BatchJob): OpenPayload {
  const close = (): Promise<void> => Promise.resolve();
  const { bytes } = batch;
  if (bytes > WHOLE_MAX_BYTES) return { bytes, chunks: proven(batch, store.read(batch)), close };
  const whole = store.readWhole(batch);
  whole.catch(() => undefined); // met by whoever sends, unless the connection fails before
  return { bytes, chunks: provenWhole(batch, whole), close };
}
