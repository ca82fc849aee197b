import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import { connectionsSettled, send } from '../../src/protocol/index.js';
import { DelayedError, type Job } from '../../src/queue/bullmq.js';
import type { BatchJob } from '../../src/queue/jobs.js';
import type { Answer } from '../../src/queue/routeAnswers.js';
import { rightToSend } from '../../src/workers/activation.js';
import { BatchProcessor } from '../../src/workers/batchProcessor.js';
import { Lease } from '../../src/workers/lease.js';
import { Preconnection } from '../../src/workers/preconnection.js';
import {
  honest,
  pieces,
  type ScriptedServer,
  type Seen,
  scriptedServer,
} from '../protocol/scriptedServer.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';
import { ANY_PLACE, activationParts } from './activationParts.js';
import { testDestination } from './testDestination.js';

failOnLeaks();

const servers: ScriptedServer[] = [];
afterEach(async () => {
  await connectionsSettled();
  await Promise.all(servers.splice(0).map((server) => server.stop()));
});

async function serve(script: (seen: Seen) => Promise<void> | void): Promise<ScriptedServer> {
  const server = await scriptedServer(script);
  servers.push(server);
  return server;
}

function lease(): Lease {
  const startedAt = performance.now();
  return new Lease({ leaseMs: 15_000, startedAt, renew: () => Promise.resolve(true) });
}

/** What Redis answers, when the test says so. */
function question(): {
  asked: Promise<Answer<'go' | 'park'>>;
  answer: (is: 'go' | 'park') => void;
} {
  let answer: (is: 'go' | 'park') => void = () => undefined;
  const asked = new Promise<Answer<'go' | 'park'>>((resolve) => {
    answer = (is) => resolve({ is });
  });
  return { asked, answer };
}

describe('a connection that is opened while Redis is asked', () => {
  it('stands before the answer, without a byte of the request, and is the one that is used', async () => {
    const server = await serve(honest);
    const right = lease();
    const ahead = new Preconnection(testDestination(server.port), 'foo', right.signal);
    const { asked, answer } = question();
    const begun = rightToSend(asked, right, ahead);
    const seen = await server.connection(0);
    assert.equal(seen.bytes.length, 0);
    answer('go');
    assert.equal((await begun).is, 'go');
    const sending = {
      endpoint: await ahead.endpoint,
      body: { kind: 'batch' } as const,
      bytes: 5,
      mayConfirm: () => right.isValid(),
      signal: right.signal,
    };
    await send({ ...sending, connection: ahead.take(), payload: pieces('hello') });
    assert.match(seen.bytes.toString(), /secret\n5\nhelloT$/);
    // The next one opens its own.
    assert.equal(ahead.take(), undefined);
    await send({ ...sending, payload: pieces('again') });
    assert.equal(server.seen.length, 2);
    right.stop();
    ahead.drop();
  });

  it('ends without a request when the answer is no', async () => {
    const server = await serve(() => undefined);
    const right = lease();
    const ahead = new Preconnection(testDestination(server.port), 'foo', right.signal);
    const { asked, answer } = question();
    const begun = rightToSend(asked, right, ahead);
    const seen = await server.connection(0);
    answer('park');
    assert.equal((await begun).is, 'park');
    assert.equal(await seen.ended, true, 'a polite end');
    seen.socket.end();
    assert.equal(seen.bytes.length, 0);
  });

  it('ends in the middle of its handshake when Redis goes away', async () => {
    const server = await serve(() => undefined);
    const right = lease();
    const ahead = new Preconnection(testDestination(server.port), 'foo', right.signal);
    const gone = new FerryError('REDIS_AWAY', 'Redis is away', { kind: 'redis' });
    await assert.rejects(rightToSend(Promise.reject(gone), right, ahead), gone);
    assert.ok(right.signal.aborted);
    assert.equal(ahead.take(), undefined);
  });

  it('fails the send and not the question, when nobody listens or the key is no good', async () => {
    for (const to of [
      testDestination(await freePort()),
      { ...testDestination(1), host: '/no/such/file' },
    ]) {
      const right = lease();
      const ahead = new Preconnection(to, 'foo', right.signal);
      const { asked, answer } = question();
      answer('go');
      assert.equal((await rightToSend(asked, right, ahead)).is, 'go');
      await assert.rejects(ahead.take() ?? Promise.resolve(), FerryError);
      right.stop();
    }
  });

  it('is not used when Redis took longer than a second to answer', async () => {
    const server = await serve(() => undefined);
    const right = lease();
    let now = 0;
    const ahead = new Preconnection(testDestination(server.port), 'foo', right.signal, () => now);
    const seen = await server.connection(0);
    now = 1_000;
    assert.equal(ahead.usable(), ahead);
    now = 1_001;
    assert.equal(ahead.usable(), null);
    assert.equal(ahead.take(), undefined);
    assert.equal(await seen.ended, true, 'a polite end');
    seen.socket.end();
    assert.equal(seen.bytes.length, 0);
  });

  it('is not opened for a route whose last activation might not send', async () => {
    const answers = ['go', 'closed', 'closed', 'go', 'go'];
    const opened: boolean[] = [];
    let opens = 0;
    const parts = {
      order: {
        begin: async () => {
          opened.push(opens > 0);
          opens = 0;
          return { is: answers[opened.length - 1], previous: 0, repeat: null, chain: null };
        },
        ack: async () => ({ is: 'acked', head: 2, tail: 1, blobs: [] }),
      },
      delivery: {
        preconnect: () => {
          opens += 1;
          return null;
        },
        sendBatch: async () => undefined,
      },
    };
    const processor = new BatchProcessor(activationParts(parts));
    const data = { route: 'foo@d', journal: 'foo', sequence: 1, bytes: 1, sha256: '' };
    const job = { data, moveToDelayed: async () => undefined } as unknown as Job<BatchJob>;
    for (const is of answers) {
      const run = processor.run(job, 't', testDestination(1), ANY_PLACE);
      if (is === 'go') await run;
      else await assert.rejects(run, DelayedError);
    }
    assert.deepEqual(opened, [true, true, false, false, true]);
  });

  it('is ended by a send that comes to nothing before it needs it', async () => {
    const server = await serve(() => undefined);
    const right = lease();
    const ahead = new Preconnection(testDestination(server.port), 'foo', right.signal);
    const seen = await server.connection(0);
    await assert.rejects(
      send({
        endpoint: await ahead.endpoint,
        connection: ahead.take(),
        body: { kind: 'blob', path: 'a\nb' }, // no path for the wire
        bytes: 5,
        payload: pieces('hello'),
        mayConfirm: () => true,
        signal: right.signal,
      }),
      FerryError,
    );
    assert.equal(await seen.ended, true);
    seen.socket.end();
    assert.equal(seen.bytes.length, 0);
  });
});
