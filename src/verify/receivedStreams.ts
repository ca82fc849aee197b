import { beginChain, type Chain, extended } from '../common/chain.js';
import type { BatchRecord } from '../receiver/batchRecord.js';
import { type ChainLine, shown } from './chainLine.js';
import type { Findings, Found } from './findings.js';
import type { StreamProof } from './report.js';

/** A line, and why this side is not what it says; null: it is. */
export type Met = Map<ChainLine, Found | null>;

/** As many links are remembered: a sender gives up few batches that were taken all the same. */
const RECENT_MAX = 1_024;

/**
 * A chain that follows `previous`: behind each batch stands the one that its sender had confirmed
 * before, so that it equals the sender's, whatever that one gave up.
 */
class Walk {
  readonly #recent = new Map<number, Chain>();
  last: Chain = beginChain(1);

  /** @param since the first batch that counts */
  constructor(readonly since: number) {}

  /** @returns null: it lies before the first that counts, or behind a batch that is not held */
  add({ sequence, previous, sha256 }: BatchRecord): Chain | null {
    if (sequence < this.since) return null;
    const begins = previous < this.since;
    const before = begins ? beginChain(sequence) : this.#recent.get(previous);
    if (before === undefined) return null;
    this.last = extended(before, sequence, sha256);
    this.#recent.set(sequence, this.last);
    const [oldest] = this.#recent.keys();
    if (this.#recent.size > RECENT_MAX && oldest !== undefined) this.#recent.delete(oldest);
    return this.last;
  }
}

interface Stream {
  batches: number;
  bytes: number;
  last: number;
  walk: Walk;
  /** For lines that begin in the middle, and how they ended. */
  expected: { line: ChainLine; walk: Walk; found: Chain | null; ahead: number }[];
}

/** The streams of one app, record by record: their order and their chains. */
export class ReceivedStreams {
  readonly #streams = new Map<string | null, Stream>();

  constructor(
    private readonly app: string,
    private readonly expect: readonly ChainLine[],
    private readonly findings: Findings,
  ) {}

  add(record: BatchRecord): void {
    const stream = this.#stream(record.stream);
    stream.batches += 1;
    stream.bytes += record.bytes;
    if (record.stream === null) {
      // Without identity the order of arrival is all that there is.
      const { last, walk } = stream;
      walk.add({ ...record, sequence: last + 1, previous: last });
      stream.last += 1;
      return;
    }
    const { sequence, previous } = record;
    if (sequence <= stream.last || previous >= sequence) {
      this.#differs(
        record,
        'ORDER_BROKEN',
        `batch ${sequence} of its stream stands behind ${stream.last}`,
      );
    } else if (previous > stream.last) {
      this.#differs(
        record,
        'GAP',
        `what its sender confirmed before it (batch ${previous} of the stream) is not here`,
      );
    }
    stream.last = Math.max(stream.last, sequence);
    const chain = stream.walk.add(record);
    if (record.chain !== undefined && chain !== null && record.chain !== chain.head) {
      this.#differs(record, 'CHAIN_BROKEN', 'the chain of digests does not run through its record');
    }
    for (const one of stream.expected) {
      const at = one.walk.add(record);
      if (one.found !== null) one.ahead += 1;
      else if (sequence === one.line.chain.through) one.found = at;
    }
  }

  /** @returns the streams, and what became of the lines that are about one of them */
  end(): { streams: StreamProof[]; met: Met } {
    const met: Met = new Map();
    const streams = [...this.#streams].map(([id, stream]): StreamProof => {
      const { batches, bytes, last: lastSequence } = stream;
      let expected: StreamProof['expected'] = null;
      for (const { line, found, ahead } of stream.expected) {
        const equal = found?.head === line.chain.head;
        if (equal) expected = { ahead };
        met.set(line, equal ? null : this.#unlike(stream, line, found));
      }
      const chain = shown(id, stream.walk.last);
      return { stream: id, batches, bytes, lastSequence, chain, expected };
    });
    return { streams, met };
  }

  #unlike({ last }: Stream, { chain }: ChainLine, found: Chain | null): Found {
    const { through, since } = chain;
    if (last < through) {
      return {
        ...{ code: 'RECEIVER_BEHIND', app: this.app },
        what: `the sender has confirmed everything through batch ${through}, here the stream ends at ${last}`,
        do: 'this data folder is an older copy: bring the missing batches back, or seed the replica again',
      };
    }
    return {
      ...{ code: 'CHAIN_DIFFERS', app: this.app },
      what:
        found === null
          ? `batch ${through} of the stream, the last one confirmed, is not here`
          : `batches ${since} to ${through} of the stream are not those that the sender has confirmed`,
      do: 'look for other differences above; if there are none, the line is another route’s, or the sender’s state directory another one: seed the replica again',
    };
  }

  #differs({ number }: BatchRecord, code: string, what: string): void {
    this.findings.differs({
      code,
      app: this.app,
      sequence: number,
      what: `batch ${number}: ${what}`,
      do: 'index.log was changed: restore the data folder, or seed the replica again',
    });
  }

  #stream(id: string | null): Stream {
    let stream = this.#streams.get(id);
    if (stream === undefined) {
      const lines = this.expect.filter((line) => line.stream === id);
      stream = {
        ...{ batches: 0, bytes: 0, last: 0 },
        walk: new Walk(1),
        expected: lines.map((line) => {
          const walk = new Walk(line.chain.since);
          return { line, walk, found: null, ahead: 0 };
        }),
      };
      this.#streams.set(id, stream);
    }
    return stream;
  }
}
