import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { FerryError } from '../../src/common/errors.js';
import type { WireDestination } from '../../src/config/model.js';
import { connectionsSettled, send } from '../../src/protocol/index.js';
import type { Answer } from '../../src/queue/routeOrder.js';
import { rightToSend } from '../../src/workers/activation.js';
import { Lease } from '../../src/workers/lease.js';
import { Preconnection } from '../../src/workers/preconnection.js';
import {
  LONG_TIMEOUTS,
  pieces,
  type ScriptedServer,
  type Seen,
  scriptedServer,
} from '../protocol/scriptedServer.js';
import { freePort } from '../support/freePort.js';
import { failOnLeaks } from '../support/leaks.js';

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

async function replica(seen: Seen): Promise<void> {
  await seen.until((bytes) => bytes.toString('latin1').endsWith('T'));
  seen.socket.write('T');
  await seen.ended;
  seen.socket.end();
}

/** Whoever it is: the certificate is not what is tested here. */
function destination(port: number, key = 'secret'): WireDestination {
  return {
    name: 'd',
    kind: 'wire',
    was: [],
    connections: 4,
    host: 'localhost',
    port,
    url: 'foo.r/!replica',
    key: { text: key },
    dialect: 'acked',
    confirm: 'applied',
    tls: { verify: false, caFile: null, servername: null, certFile: null, keyFile: null },
    timeouts: LONG_TIMEOUTS,
    identity: true,
  };
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
    const server = await serve(replica);
    const right = lease();
    const ahead = new Preconnection(destination(server.port), 'foo', right.signal);
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
    const ahead = new Preconnection(destination(server.port), 'foo', right.signal);
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
    const ahead = new Preconnection(destination(server.port), 'foo', right.signal);
    const gone = new FerryError('REDIS_AWAY', 'Redis is away', { kind: 'redis' });
    await assert.rejects(rightToSend(Promise.reject(gone), right, ahead), gone);
    assert.ok(right.signal.aborted);
    assert.equal(ahead.take(), undefined);
  });

  it('fails the send and not the question, when nobody listens or the key is no good', async () => {
    for (const to of [
      destination(await freePort()),
      { ...destination(1), host: '/no/such/file' },
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

  it('is ended by a send that comes to nothing before it needs it', async () => {
    const server = await serve(() => undefined);
    const right = lease();
    const ahead = new Preconnection(destination(server.port), 'foo', right.signal);
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
