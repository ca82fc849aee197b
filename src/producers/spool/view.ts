/** The questions that can be asked of a spool's state, for the producer and for read-only users. */

import { replayLeft } from './replayState.js';
import type { SpoolState } from './state.js';
import type {
  PendingBlob,
  RouteMark,
  SpoolBatch,
  SpoolView,
  TrimMark,
  UnfinishedVerdict,
} from './types.js';

export abstract class StateView implements SpoolView {
  protected readonly state: SpoolState;
  /** A sealed batch that its capture has not handed out yet (it may still be superseded). */
  protected unpublished: number | undefined;

  constructor(state: SpoolState) {
    this.state = state;
  }

  abstract get bytesOnDisk(): number;

  get journal(): string {
    return this.state.journal;
  }

  get stream(): string {
    return this.state.stream;
  }

  get streamSince(): number {
    return this.state.streamSince;
  }

  get lastSequence(): number {
    return this.unpublished === undefined ? this.state.last : this.unpublished - 1;
  }

  get capturedBytes(): number {
    return this.state.captured;
  }

  get waitingBytes(): number {
    return this.state.waitingBytes();
  }

  get settledThrough(): number {
    return this.state.settled;
  }

  get truncated(): { readonly sequence: number; readonly bootId: string } | null {
    return this.state.truncated;
  }

  get trimMark(): TrimMark | null {
    return this.state.trim;
  }

  batch(sequence: number): SpoolBatch | undefined {
    return sequence > this.lastSequence ? undefined : this.state.batches.get(sequence);
  }

  *batchesAfter(sequence: number): Iterable<SpoolBatch> {
    const first = this.state.batches.keys().next().value ?? Number.POSITIVE_INFINITY;
    for (let seq = Math.max(sequence + 1, first); seq <= this.lastSequence; seq += 1) {
      const batch = this.state.batches.get(seq);
      if (batch !== undefined) yield batch;
    }
  }

  route(destination: string): RouteMark | undefined {
    const route = this.state.routes.get(destination);
    return route === undefined ? undefined : { ...route };
  }

  *routes(): Iterable<RouteMark> {
    for (const route of this.state.routes.values()) yield { ...route };
  }

  pendingBlob(link: string): PendingBlob | undefined {
    return this.state.blobs.get(link);
  }

  *pendingBlobs(): Iterable<PendingBlob> {
    yield* this.state.blobs.values();
  }

  *unfinishedVerdicts(): Iterable<UnfinishedVerdict> {
    yield* this.state.unfinished;
  }

  get replayedFrom(): number | null {
    return this.state.replayedFrom();
  }

  get archivedThrough(): number | null {
    return this.state.archived;
  }

  get chainHead(): string {
    const { chain, last } = this.state;
    return this.lastSequence < last ? (this.batch(this.lastSequence)?.chain ?? '') : chain;
  }

  get chainSince(): number {
    return this.state.chainSince;
  }

  unarchived(limit: number): SpoolBatch[] {
    const { archived, batches } = this.state;
    if (archived === null) return [];
    const found: SpoolBatch[] = [];
    const done = this.state.lowestAck();
    for (const batch of batches.values()) {
      if (batch.sequence > done || found.length === limit) break;
      if (batch.sequence > archived) found.push(batch);
    }
    return found;
  }

  waiting(destination: string): {
    batches: number;
    bytes: number;
    oldestSealedAtMs: number | null;
  } {
    const route = this.state.routes.get(destination);
    if (route === undefined) return { batches: 0, bytes: 0, oldestSealedAtMs: null };
    return {
      batches: this.state.last - route.acked + replayLeft(route),
      bytes: this.state.waitingOn(route) + (route.replay?.bytesLeft ?? 0),
      oldestSealedAtMs: this.state.batches.get(route.acked + 1)?.sealedAtMs ?? null,
    };
  }
}

/** A spool as it stood at one moment, read without taking anything. */
export class SpoolSnapshot extends StateView {
  readonly bytesOnDisk: number;

  constructor(state: SpoolState, bytesOnDisk: number) {
    super(state);
    this.bytesOnDisk = bytesOnDisk;
  }
}
