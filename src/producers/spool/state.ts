/**
 * The state of a spool, made of the facts in its log and of nothing else: the same facts give the
 * same state, in the producer that wrote them and in the one that reads them after a crash.
 *
 * A batch: (captured) -> held -> gone. It is held while some route has not got past it, while it
 * is some route's last confirmed one (a sender may have to send it once more), until it is settled
 * (a power cut may bring its bytes back into the journal, to be compared), until a replay is
 * through, and, where there is an archive, until that has it. `apply` drops it from the table when
 * the last of these ends; whoever deletes files looks at the table.
 */
import { beginChain, type Chain, chained, extended } from '../../common/chain.js';
import { FerryError } from '../../common/errors.js';
import type { Checkpoint, Fact, FactPlace } from './facts.js';
import { ackReplay, beginReplay, endReplay } from './replayState.js';
import type {
  PendingBlob,
  RouteMark,
  SpoolBatch,
  TrimMark,
  UnfinishedVerdict,
  Verdict,
} from './types.js';

type Route = { -readonly [K in keyof RouteMark]: RouteMark[K] };

export class SpoolState {
  journal = '';
  stream = '';
  streamSince = 1;
  last = 0;
  captured = 0;
  settled = 0;
  truncated: { sequence: number; bootId: string } | null = null;
  trim: TrimMark | null = null;
  /** The highest version ever given to any blob: versions of a link text rise with it, for ever. */
  blobVersion = 0;
  readonly blobs = new Map<string, PendingBlob>();
  readonly routes = new Map<string, Route>();
  /** Held batches, ascending. */
  readonly batches = new Map<number, SpoolBatch>();
  /** Oldest first. */
  unfinished: UnfinishedVerdict[] = [];
  /** The archive has every held batch up to here; null: there is none. */
  archived: number | null = null;
  /** Of the last batch, published or not, and of the one before it: a seal may be superseded. */
  chain = '';
  chainBefore = '';
  /** The first batch that `chain` covers. */
  chainSince = 1;

  /** The state as the first record of a new segment. */
  checkpoint(): Checkpoint {
    return {
      t: 'checkpoint',
      v: 1,
      journal: this.journal,
      stream: this.stream,
      streamSince: this.streamSince,
      last: this.last,
      captured: this.captured,
      settled: this.settled,
      truncated: this.truncated,
      trim: this.trim,
      blobVersion: this.blobVersion,
      blobs: [...this.blobs.values()],
      routes: [...this.routes.values()],
      batches: [...this.batches.values()],
      unfinished: this.unfinished,
      archived: this.archived,
      chain: this.chain,
      chainBefore: this.chainBefore,
      chainSince: this.chainSince,
    };
  }

  /** Payload that some route has not confirmed. Without any route: all that is held. */
  waitingBytes(): number {
    let most = 0;
    for (const route of this.routes.values()) most = Math.max(most, this.waitingOn(route));
    return this.routes.size === 0 ? this.captured : most;
  }

  /** Payload bytes that this route has neither confirmed nor skipped. */
  waitingOn(route: RouteMark): number {
    return this.captured - route.baseBytes - route.ackedBytes - route.skippedBytes;
  }

  /** Everything up to here is confirmed or skipped on every route. 0 without any route. */
  lowestAck(): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (const route of this.routes.values()) lowest = Math.min(lowest, route.acked);
    return lowest === Number.POSITIVE_INFINITY ? 0 : lowest;
  }

  /** Everything from here on is needed by a replay. */
  replayedFrom(): number | null {
    let from: number | null = null;
    for (const { replay } of this.routes.values()) {
      if (replay !== null) from = Math.min(from ?? replay.from, replay.from);
    }
    return from;
  }

  /** Makes one fact true. Throws SPOOL_DAMAGED for one that cannot follow the state. */
  apply(fact: Fact, place: FactPlace): void {
    switch (fact.t) {
      case 'checkpoint':
        this.#load(fact);
        return;
      case 'seal':
        this.#seal(fact, place);
        return;
      case 'truncated':
        if (fact.seq >= (this.truncated?.sequence ?? 0)) {
          this.truncated = { sequence: fact.seq, bootId: fact.boot };
        }
        return;
      case 'settled':
        this.settled = Math.max(this.settled, Math.min(fact.seq, this.last));
        this.#prune();
        return;
      case 'trim':
        this.trim = { sequence: fact.seq, bytes: fact.bytes, inode: fact.ino };
        return;
      case 'route':
        this.#addRoute(fact.d, fact.after);
        return;
      case 'rename': {
        const route = this.routes.get(fact.d);
        if (route === undefined || this.routes.has(fact.to)) return;
        this.routes.delete(fact.d);
        this.routes.set(fact.to, { ...route, destination: fact.to });
        this.#renameInBlobs(fact.d, fact.to);
        this.unfinished = this.unfinished.map((skip) =>
          skip.destination === fact.d ? { ...skip, destination: fact.to } : skip,
        );
        return;
      }
      case 'drop':
        this.routes.delete(fact.d);
        this.#prune();
        return;
      case 'archiving':
        this.archived = fact.on ? (this.archived ?? 0) : null;
        this.#prune();
        return;
      case 'archived':
        if (this.archived === null) return;
        this.archived = Math.max(this.archived, Math.min(fact.seq, this.last));
        this.#prune();
        return;
      case 'finished': {
        const done = this.unfinished.findIndex((skip) => skip.destination === fact.d);
        this.unfinished = this.unfinished.filter((_, index) => index !== done);
        return;
      }
      case 'confirmedAfterAll':
        this.#takeSkipBack(fact.d);
        return;
      case 'stream':
        this.stream = fact.id;
        this.streamSince = this.routes.size === 0 ? this.last + 1 : this.lowestAck() + 1;
        for (const route of this.routes.values()) beginStream(route);
        return;
      case 'blob':
        this.blobVersion = Math.max(this.blobVersion, fact.version);
        this.blobs.set(fact.link, {
          link: fact.link,
          text: fact.text,
          version: fact.version,
          afterSequence: fact.after,
          confirmedBy: [],
        });
        return;
      case 'blobConfirmed': {
        const blob = this.blobs.get(fact.link);
        if (blob?.version !== fact.version || blob.confirmedBy.includes(fact.d)) return;
        this.blobs.set(fact.link, { ...blob, confirmedBy: [...blob.confirmedBy, fact.d] });
        return;
      }
      case 'blobDone':
        if (this.blobs.get(fact.link)?.version === fact.version) this.blobs.delete(fact.link);
        return;
      default:
        this.#applyToRoute(fact);
    }
  }

  #applyToRoute(
    fact: Extract<Fact, { t: 'orphaned' | 'accepted' | 'ack' | 'generation' | 'verdict' }>,
  ): void {
    const route = this.routes.get(fact.d);
    // A route may be dropped while an answer about it is still under way.
    if (route === undefined) return;
    switch (fact.t) {
      case 'orphaned':
        route.orphaned = fact.on;
        return;
      case 'accepted':
        route.accepted = Math.max(route.accepted, Math.min(fact.seq, this.last));
        return;
      case 'generation':
        // A new generation starts empty in Redis: everything after the ack is fed again.
        if (fact.n !== route.generation) route.accepted = route.replay?.acked ?? route.acked;
        route.generation = fact.n;
        return;
      case 'ack': {
        const seq = Math.min(fact.seq, this.last);
        if (route.replay !== null) {
          ackReplay(route, seq, fact.b ?? 0);
          if (route.replay === null) this.#prune();
        }
        if (seq <= route.acked) return;
        const done = this.#between(route.acked, seq);
        route.chain = this.#chainThrough(route, seq);
        route.ackedBatches += seq - route.acked;
        route.ackedBytes += done;
        route.acked = seq;
        route.previous = seq;
        route.confirmed = seq;
        route.accepted = Math.max(route.accepted, seq);
        this.#prune();
        return;
      }
      case 'verdict':
        this.#verdict(route, fact.verdict);
    }
  }

  #verdict(route: Route, verdict: Verdict): void {
    route.lastVerdict = verdict;
    switch (verdict.kind) {
      case 'pause':
        route.paused = true;
        return;
      case 'resume':
        route.paused = false;
        return;
      case 'replayed':
        if (route.replay === null) return;
        this.#unfinished(route, verdict, route.replay.acked + 1, route.replay.to);
        endReplay(route);
        this.#prune();
        return;
      case 'replay': {
        const { sequence } = verdict;
        if (sequence === undefined) return;
        beginReplay(route, { ...verdict, sequence });
        this.#unfinished(route, verdict, sequence, verdict.to ?? route.acked);
        return;
      }
      case 'skip': {
        const seq = Math.min(verdict.sequence ?? route.acked + 1, this.last);
        const from = route.acked + 1;
        if (seq >= from || verdict.drop) this.#unfinished(route, verdict, from, seq);
        if (seq < from) return;
        const before = route.skipped.at(-1);
        route.skipped =
          before !== undefined && before[1] === from - 1
            ? [...route.skipped.slice(0, -1), [before[0], seq]]
            : [...route.skipped, [from, seq]];
        route.skippedBytes += this.#between(route.acked, seq);
        route.skippedBatches += seq - route.acked;
        route.acked = seq;
        route.accepted = Math.max(route.accepted, seq);
        this.#prune();
      }
    }
  }

  #unfinished(route: Route, verdict: Verdict, from: number, to: number): void {
    const { destination } = route;
    const sha256 = from === to ? (this.batches.get(to)?.sha256 ?? null) : null;
    const bytes = verdict.bytes ?? this.#between(from - 1, to);
    this.unfinished = [...this.unfinished, { destination, verdict, from, to, bytes, sha256 }];
  }

  #addRoute(destination: string, after: number): void {
    if (this.routes.has(destination)) return;
    const acked = Math.min(after, this.last);
    this.routes.set(destination, {
      destination,
      firstSequence: acked + 1,
      acked,
      accepted: acked,
      generation: 0,
      previous: 0,
      confirmed: 0,
      orphaned: false,
      paused: false,
      streamFrom: acked + 1,
      replay: null,
      skipped: [],
      baseBytes: this.captured - this.#between(acked, this.last),
      ackedBatches: 0,
      ackedBytes: 0,
      skippedBatches: 0,
      skippedBytes: 0,
      lastVerdict: null,
      chain: beginChain(acked + 1),
    });
    this.#prune();
  }

  /** The chain of a route that has confirmed everything up to there. */
  #chainThrough(route: RouteMark, through: number): Chain {
    let { chain } = route;
    for (let seq = route.acked + 1; seq <= through; seq += 1) {
      const batch = this.batches.get(seq);
      // Nobody can say what is missing here (a damaged spool); the receiver's side will tell.
      if (batch === undefined) chain = beginChain(through + 1, through);
      else chain = extended(chain, seq, batch.sha256);
    }
    return chain;
  }

  /**
   * Somebody confirmed a batch between the operator's word and Redis's hearing of it. It counts as
   * confirmed: the far side has it, and what is sent next says so.
   */
  #takeSkipBack(destination: string): void {
    const route = this.routes.get(destination);
    const skip = this.unfinished.find((one) => one.destination === destination);
    if (route === undefined || skip === undefined || skip.sha256 === null) return;
    const { to, bytes, sha256 } = skip;
    const range = route.skipped.at(-1);
    if (range?.[1] !== to || route.acked !== to) return;
    const others = route.skipped.slice(0, -1);
    route.skipped = range[0] === to ? others : [...others, [range[0], to - 1]];
    route.skippedBatches -= 1;
    route.skippedBytes -= bytes;
    route.ackedBatches += 1;
    route.ackedBytes += bytes;
    route.previous = to;
    route.confirmed = to;
    route.chain = extended(route.chain, to, sha256);
    this.#prune();
  }

  #seal(fact: Extract<Fact, { t: 'seal' }>, place: FactPlace): void {
    const superseded = fact.seq === this.last ? this.batches.get(fact.seq) : undefined;
    if (superseded === undefined && fact.seq !== this.last + 1) {
      throw new FerryError('SPOOL_DAMAGED', `batch ${fact.seq} is sealed after ${this.last}`, {
        kind: 'storage',
        retry: false,
        hint: 'restore the state directory, or move this journal’s spool away and seed the replicas again',
        context: { file: place.file },
      });
    }
    if (superseded !== undefined) {
      this.captured -= superseded.bytes;
      this.chain = this.chainBefore;
      this.chainSince = Math.min(this.chainSince, fact.seq);
      // Keeps the table ascending: a changed value would stay in its place, which is right too.
      this.batches.delete(fact.seq);
    }
    this.last = fact.seq;
    this.chainBefore = this.chain;
    this.chain = chained(this.chain, fact.sha);
    this.captured += fact.bytes;
    if (this.trim?.sequence === fact.seq) this.trim = null;
    this.batches.set(fact.seq, {
      sequence: fact.seq,
      bytes: fact.bytes,
      sha256: fact.sha,
      sealedAtMs: fact.at,
      location:
        fact.file === undefined
          ? { file: place.file, offset: place.payloadOffset }
          : { file: fact.file, offset: 0 },
      inode: fact.ino,
      bootId: fact.boot,
      journalOffset: fact.off ?? 0,
      follows: fact.follows ?? 0,
      trimmedBytes: fact.trim ?? 0,
      chain: this.chain,
    });
  }

  #load(from: Checkpoint): void {
    this.journal = from.journal;
    this.stream = from.stream;
    this.streamSince = from.streamSince;
    this.last = from.last;
    this.captured = from.captured;
    this.settled = from.settled;
    this.truncated = from.truncated;
    this.trim = from.trim;
    this.blobVersion = from.blobVersion;
    this.blobs.clear();
    for (const blob of from.blobs) this.blobs.set(blob.link, blob);
    this.routes.clear();
    for (const route of from.routes) {
      // Absent in spools of versions that had no replay.
      const streamFrom = route.streamFrom ?? Math.max(route.firstSequence, from.streamSince);
      // A version that knows no chain may have confirmed something since.
      const known = route.chain?.through === route.previous ? route.chain : null;
      const chain = known ?? beginChain(route.acked + 1, route.previous);
      this.routes.set(route.destination, { ...route, streamFrom, chain });
    }
    this.batches.clear();
    for (const batch of from.batches) this.batches.set(batch.sequence, batch);
    this.unfinished = from.unfinished ?? [];
    this.archived = from.archived ?? null;
    this.chain = from.chain ?? '';
    this.chainBefore = from.chainBefore ?? '';
    this.chainSince = from.chainSince ?? from.last + 1;
  }

  #renameInBlobs(was: string, now: string): void {
    for (const blob of this.blobs.values()) {
      if (!blob.confirmedBy.includes(was)) continue;
      const confirmedBy = blob.confirmedBy.map((name) => (name === was ? now : name));
      this.blobs.set(blob.link, { ...blob, confirmedBy });
    }
  }

  /** Bytes of the held batches in (after, through]. */
  #between(after: number, through: number): number {
    let bytes = 0;
    for (let seq = after + 1; seq <= through; seq += 1) bytes += this.batches.get(seq)?.bytes ?? 0;
    return bytes;
  }

  /** Drops what nobody needs any more. Without a route nothing can be confirmed: all stays. */
  #prune(): void {
    if (this.routes.size === 0) return;
    const archived = this.archived ?? Number.POSITIVE_INFINITY;
    const replayed = (this.replayedFrom() ?? Number.POSITIVE_INFINITY) - 1;
    const done = Math.min(this.lowestAck(), this.settled, archived, replayed);
    for (const batch of this.batches.values()) {
      if (batch.sequence > done) break;
      let needed = false;
      for (const route of this.routes.values()) needed ||= route.confirmed === batch.sequence;
      if (!needed) this.batches.delete(batch.sequence);
    }
  }
}

/** Numbers begin to count anew; what went out under other ones cannot be replayed. */
function beginStream(route: Route): void {
  endReplay(route);
  route.previous = 0;
  route.streamFrom = route.acked + 1;
  route.chain = beginChain(route.acked + 1);
}
