/**
 * Every key and job id in one place. All keys share one hash tag (`{ferry}`), so that a script
 * may touch any of them on a Redis cluster too.
 */

/** BullMQ queue of batches; its jobs are the truth about what may run, our scripts about order. */
export const BATCH_QUEUE = 'batches';
/** BullMQ queue of blobs. */
export const BLOB_QUEUE = 'blobs';

export class Keys {
  /** Also BullMQ's prefix. */
  readonly tag: string;

  constructor(prefix: string) {
    this.tag = `{${prefix}}`;
  }

  /** Hash: the state of one route; its fields are listed in `scripts/open.lua`. */
  route(route: string): string {
    return `${this.tag}:route:${route}`;
  }

  /** Hash: sequence -> JSON of the accepted batch, kept until its successor is confirmed. */
  batches(route: string): string {
    return `${this.tag}:accepted:${route}`;
  }

  /** Hash: link -> lease and confirmed version of a blob on this route. */
  blobs(route: string): string {
    return `${this.tag}:blobs:${route}`;
  }

  /** Sorted set: job id of a parked blob, scored by the batch it follows. */
  parkedBlobs(route: string): string {
    return `${this.tag}:parked-blobs:${route}`;
  }

  /** Set: every route that a producer opened. */
  routes(): string {
    return `${this.tag}:routes`;
  }

  /** Prefix of the payload chunks of one job, followed by the chunk number. */
  chunks(jobId: string): string {
    return `${this.tag}:payload:${jobId}:`;
  }

  /** Channel: `ack`, `blob`, `ask` and `wake` news for producers; a hint, never the truth. */
  news(): string {
    return `${this.tag}:news`;
  }

  /** Hash: id -> what an operator's command asks of a producer (`asks.ts`). */
  asks(): string {
    return `${this.tag}:asks`;
  }

  /** String: the answer to one ask, for a while. */
  answer(id: string): string {
    return `${this.tag}:answer:${id}`;
  }

  /** Hash: transfer id -> what a worker wants to read of a payload that is not in Redis. */
  wants(): string {
    return `${this.tag}:wants`;
  }

  /** One part of a transfer: its `head`, or a chunk by number. */
  transferPart(id: string, part: string): string {
    return `${this.tag}:transfer:${id}:${part}`;
  }

  /** Channel: a worker wants chunks (`transfer`), or chunks came (`ready`). */
  transfers(): string {
    return `${this.tag}:transfers`;
  }
}

/**
 * BullMQ refuses `:` and plain integers as job ids. The sequence is zero-padded so that ids of a
 * route sort in order for the reader of the dashboard.
 */
export function batchJobId(route: string, generation: number, sequence: number): string {
  return `${jobSafe(route)}~${generation}.${String(sequence).padStart(10, '0')}`;
}

/** `key` is the blob's link, hashed (see `blobKey`). */
export function blobJobId(route: string, stream: string, key: string, version: number): string {
  return `${jobSafe(route)}~${stream.slice(0, 8)}.${key}.${version}`;
}

function jobSafe(route: string): string {
  return route.replaceAll(':', '%3A');
}
