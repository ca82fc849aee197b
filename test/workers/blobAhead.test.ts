import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { connectionsSettled } from '../../src/protocol/index.js';
import { DelayedError, type Job } from '../../src/queue/bullmq.js';
import type { BlobJob } from '../../src/queue/jobs.js';
import { BlobAhead } from '../../src/workers/blobAhead.js';
import type { OpenBlob } from '../../src/workers/blobFile.js';
import { BlobProcessor } from '../../src/workers/blobProcessor.js';
import { pieces, type ScriptedServer, scriptedServer } from '../protocol/scriptedServer.js';
import { failOnLeaks } from '../support/leaks.js';
import { ANY_PLACE, activationParts } from './activationParts.js';
import { testDestination } from './testDestination.js';

failOnLeaks();

const servers: ScriptedServer[] = [];
afterEach(async () => {
  await connectionsSettled();
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

async function silentServer(): Promise<ScriptedServer> {
  const server = await scriptedServer(() => undefined);
  servers.push(server);
  return server;
}

/** An open blob that counts how often it is closed. */
function openBlob(): { blob: OpenBlob; closed: () => number } {
  let closed = 0;
  const blob = {
    bytes: 5,
    inode: 1,
    mtimeMs: 0,
    chunks: pieces('hello'),
    close: async () => {
      closed += 1;
    },
  };
  return { blob, closed: () => closed };
}

const never = new AbortController().signal;

describe('what of a blob is begun while Redis is asked', () => {
  it('ends with its drop, file and connection, without a byte of a request', async () => {
    const server = await silentServer();
    const { blob, closed } = openBlob();
    const ahead = new BlobAhead(Promise.resolve(blob), testDestination(server.port), 'foo', never);
    const seen = await server.connection(0);
    await ahead.drop();
    assert.equal(await seen.ended, true, 'a polite end');
    seen.socket.end();
    assert.equal(seen.bytes.length, 0);
    assert.equal(closed(), 1);
    await ahead.drop();
    assert.equal(closed(), 1);
  });

  it('leaves to whoever takes it what was taken', async () => {
    const server = await silentServer();
    const { blob, closed } = openBlob();
    const ahead = new BlobAhead(Promise.resolve(blob), testDestination(server.port), 'foo', never);
    const begun = await ahead.take();
    assert.equal(begun?.payload, blob);
    assert.equal(await ahead.take(), null);
    const connection = await begun.connection.take();
    assert.ok(connection);
    await ahead.drop();
    assert.equal(closed(), 0);
    assert.equal(connection.peerEnd, 'open');
    connection.close();
    const seen = await server.connection(0);
    await seen.ended;
    seen.socket.end();
  });

  it('is no connection for a file that is not there', async () => {
    const gone = new Error('gone');
    const ahead = new BlobAhead(Promise.reject(gone), testDestination(1), 'foo', never);
    assert.equal(await ahead.take(), null, 'it is looked for once more');
    await ahead.drop();
  });

  it('is begun anew when Redis took longer than a second to answer', async () => {
    const server = await silentServer();
    const { blob, closed } = openBlob();
    let now = 0;
    const to = testDestination(server.port);
    const ahead = new BlobAhead(Promise.resolve(blob), to, 'foo', never, () => now);
    const seen = await server.connection(0);
    now = 1_001;
    assert.equal(await ahead.take(), null);
    assert.equal(closed(), 1);
    assert.equal(await seen.ended, true, 'a polite end');
    seen.socket.end();
    await ahead.drop();
    assert.equal(closed(), 1);
  });
});

/** A processor whose Redis answers so, one after the other; what was prepared for each. */
async function prepared(
  steps: readonly { answer: 'go' | 'park' | 'wait' | 'closed'; blob?: Partial<BlobJob> }[],
): Promise<boolean[]> {
  const all: boolean[] = [];
  const parts = {
    order: {
      beginBlob: async () => {
        all.push(false);
        return { is: steps[all.length - 1]?.answer, intervalMs: 1 };
      },
      endBlob: async () => true,
      state: async () => null,
    },
    delivery: {
      prepareBlob: () => {
        all[all.length - 1] = true;
        return null;
      },
      sendBlob: async () => ({ inode: 1, bytes: 1, mtimeMs: 0, crc32: null }),
    },
  };
  const processor = new BlobProcessor(activationParts(parts));
  for (const { answer, blob } of steps) {
    const data = { route: 'foo@d', journal: 'foo', stream: 's', link: '=1', follows: 4, ...blob };
    const job = { id: '1', data, moveToDelayed: async () => undefined } as unknown as Job<BlobJob>;
    const run = processor.run(job, 't', testDestination(1), ANY_PLACE);
    if (answer === 'go') await run;
    else await assert.rejects(run, DelayedError);
  }
  return all;
}

describe('it is begun for a blob of which an answer before says that it may be sent', () => {
  it('behind one that might, with the same batch or an earlier one', async () => {
    const steps = [
      { answer: 'go' },
      { answer: 'go' },
      { answer: 'go', blob: { follows: 3 } },
      { answer: 'go', blob: { follows: 4 } },
      { answer: 'wait' },
      { answer: 'go' },
    ] as const;
    assert.deepEqual(await prepared(steps), [false, true, true, true, true, true]);
  });

  it('not for a later batch, another stream, another route, or behind a refusal', async () => {
    const steps = [
      { answer: 'go' },
      { answer: 'park', blob: { follows: 5 } },
      { answer: 'go' },
      { answer: 'closed' },
      { answer: 'go' },
      { answer: 'go', blob: { stream: 'other' } },
      { answer: 'go', blob: { route: 'bar@d', stream: 'other' } },
    ] as const;
    assert.deepEqual(await prepared(steps), [false, false, false, true, false, false, false]);
  });
});
