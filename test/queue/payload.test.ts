import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { BatchJob } from '../../src/queue/jobs.js';
import {
  CHUNK_BYTES,
  type PayloadSource,
  type PayloadStore,
  WHOLE_MAX_BYTES,
} from '../../src/queue/payload/payloadStore.js';
import { RedisPayloads } from '../../src/queue/payload/redisPayloads.js';
import { SpoolPayloads } from '../../src/queue/payload/spoolPayloads.js';
import type { TransferSubject } from '../../src/queue/payload/transfer.js';
import { TransferReader } from '../../src/queue/payload/transferReader.js';
import { TransferServer } from '../../src/queue/payload/transferServer.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { tempDir } from '../support/tempDir.js';
import { batch, openQueueFixture, silent } from './helpers.js';

const q = await openQueueFixture();
failOnLeaks();

function sourceOf(bytes: Buffer, onRead?: () => void): PayloadSource {
  return {
    bytes: bytes.length,
    inode: 1,
    mtimeMs: 1,
    read(from, to) {
      onRead?.();
      return Promise.resolve(Buffer.from(bytes.subarray(from, to)));
    },
    close: () => Promise.resolve(),
  };
}

/** Reads all, copying, because a yielded buffer belongs to the reader for one step only. */
async function readAll(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const chunk of chunks) parts.push(Buffer.from(chunk));
  return Buffer.concat(parts);
}

interface Subject {
  name: string;
  store: PayloadStore;
  /** Makes what lies where the producer sealed it, and the job that names it. */
  seal(sequence: number, bytes: Buffer): Promise<BatchJob>;
}

const stateDir = tempDir();
const subjects: Subject[] = [
  {
    name: 'spool',
    store: new SpoolPayloads(stateDir),
    async seal(sequence, bytes) {
      const file = `${sequence}.batch`;
      await mkdir(join(stateDir, 'spool', 'foo'), { recursive: true });
      await writeFile(
        join(stateDir, 'spool', 'foo', file),
        Buffer.concat([Buffer.alloc(7), bytes]),
      );
      return batch(sequence, { bytes: bytes.length, payload: { kind: 'spool', file, offset: 7 } });
    },
  },
  {
    name: 'redis',
    store: new RedisPayloads(q.data, q.keys),
    seal: (sequence, bytes) => Promise.resolve(batch(sequence, { bytes: bytes.length })),
  },
];

for (const { name, store, seal } of subjects) {
  describe(`payload store: ${name}`, () => {
    for (const [index, size] of [1, CHUNK_BYTES - 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 3].entries()) {
      it(`gives back exactly what was put: ${size} bytes`, async () => {
        const bytes = randomBytes(size);
        const job = await seal(index + 1, bytes);
        const payload = await store.put(job, sourceOf(bytes));
        assert.deepEqual(await readAll(store.read({ ...job, payload })), bytes);
      });
    }

    for (const [index, size] of [1, 1_000, WHOLE_MAX_BYTES].entries()) {
      it(`gives a small one back in one go: ${size} bytes`, async () => {
        const bytes = randomBytes(size);
        const job = await seal(index + 10, bytes);
        const payload = await store.put(job, sourceOf(bytes));
        assert.deepEqual(await store.readWhole({ ...job, payload }), bytes);
      });
    }

    it('takes the same batch twice, and keeps it readable many times', async () => {
      const bytes = randomBytes(CHUNK_BYTES + 1);
      const job = await seal(20, bytes);
      await store.put(job, sourceOf(bytes));
      const payload = await store.put(job, sourceOf(bytes));
      for (let i = 0; i < 3; i += 1) {
        assert.deepEqual(await readAll(store.read({ ...job, payload })), bytes);
      }
    });

    it('lets a reader stop in the middle', async () => {
      const bytes = randomBytes(4 * CHUNK_BYTES);
      const job = await seal(30, bytes);
      const payload = await store.put(job, sourceOf(bytes));
      for await (const chunk of store.read({ ...job, payload })) {
        assert.ok(chunk.length > 0);
        break;
      }
    });

    it('says PAYLOAD_MISSING instead of giving nothing', async () => {
      const gone = batch(99, { payload: { kind: 'spool', file: 'gone.batch', offset: 0 } });
      await assert.rejects(readAll(store.read(gone)), { code: 'PAYLOAD_MISSING' });
      const job = await seal(98, randomBytes(10));
      const payload = await store.put(job, sourceOf(randomBytes(10)));
      for (const one of [gone, { ...job, payload, bytes: 20 }]) {
        await assert.rejects(store.readWhole(one), { code: 'PAYLOAD_MISSING' });
      }
    });

    it('removes what is there, and what is not', async () => {
      const job = await seal(40, randomBytes(10));
      const payload = await store.put(job, sourceOf(randomBytes(10)));
      await store.remove({ ...job, payload });
      await store.remove({ ...job, payload });
    });
  });
}

describe('a transfer through a window', () => {
  const subject: TransferSubject = { kind: 'batch', journal: 'foo', stream: 's', sequence: 1 };
  const never = new AbortController().signal;

  async function transferOf(
    open: (subject: TransferSubject) => Promise<PayloadSource | string | null>,
    work: (reader: TransferReader) => Promise<void>,
  ): Promise<void> {
    const server = new TransferServer(q.data, q.keys, open, silent, q.subscriber);
    const reader = new TransferReader(q.data, q.keys, q.subscriber);
    try {
      await work(reader);
    } finally {
      reader.stop();
      await server.stop();
    }
  }

  it('carries any length, and never has more than the window in Redis', async () => {
    const bytes = randomBytes(23 * CHUNK_BYTES + 5);
    let most = 0;
    let reads = 0;
    let taken = 0;
    const source = sourceOf(bytes, () => {
      reads += 1;
      most = Math.max(most, reads - taken);
    });
    await transferOf(
      () => Promise.resolve(source),
      async (reader) => {
        const transfer = await reader.open(subject, never);
        assert.equal(transfer.bytes, bytes.length);
        const parts: Buffer[] = [];
        for await (const chunk of transfer.chunks()) {
          taken += 1;
          parts.push(Buffer.from(chunk));
        }
        await transfer.close();
        assert.ok(Buffer.concat(parts).equals(bytes));
      },
    );
    assert.ok(most <= 6, `${most} chunks ahead of the reader`);
    await until('nothing is left in Redis', async () => {
      const keys = await q.data.keys(`${q.keys.tag}:transfer:*`);
      return keys.length === 0 && (await q.data.hlen(q.keys.wants())) === 0;
    });
  });

  it('carries an empty file', async () => {
    await transferOf(
      () => Promise.resolve(sourceOf(Buffer.alloc(0))),
      async (reader) => {
        const transfer = await reader.open(subject, never);
        assert.equal((await readAll(transfer.chunks())).length, 0);
        await transfer.close();
      },
    );
  });

  it('says what the producer says when there is no such payload', async () => {
    await transferOf(
      () => Promise.resolve('there is no blob of this name'),
      async (reader) => {
        await assert.rejects(reader.open(subject, never), {
          code: 'PAYLOAD_MISSING',
          message: 'there is no blob of this name',
        });
      },
    );
  });

  it('ends when its reader is told to', async () => {
    const stop = new AbortController();
    await transferOf(
      () => Promise.resolve(null),
      async (reader) => {
        const opening = reader.open(subject, stop.signal);
        stop.abort(new Error('told to'));
        await assert.rejects(opening, /told to/);
      },
    );
  });
});
