import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { createServer } from 'node:tls';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { closer, listen } from '../support/servers.js';
import { ARRIVAL_MS, Site, Writer } from './site.js';

const redis = await startTestRedis({ config: { appendfsync: 'always' } });
failOnLeaks();

/** What a far side without duplicate detection does with one connection. */
type Behaviour =
  /** Takes it all, answers, and ends when the sender does. */
  | 'ack'
  /** Closes after a good handshake, as a gate does whose replica is down. */
  | 'close'
  /** Answers the commit byte, and dies while it applies. */
  | 'dieApplying';

/** Follows the script, then acks everything; keeps which sequences came with which behaviour. */
async function scripted(site: Site, script: readonly Behaviour[]) {
  const seen: string[] = [];
  const server = createServer(
    { cert: readFileSync(site.path('cert.pem')), key: readFileSync(site.path('cert.key')) },
    (socket) => {
      const behaviour = script[seen.length] ?? 'ack';
      const index = seen.push('?') - 1;
      socket.allowHalfOpen = true;
      let data = Buffer.alloc(0);
      socket.on('error', () => undefined);
      socket.on('end', () => socket.end());
      socket.on('data', (chunk) => {
        data = Buffer.concat([data, chunk]);
        const sequence = /Idempotency-Key: "[0-9a-f]+\.(\d+)\./.exec(data.toString('latin1'))?.[1];
        if (sequence !== undefined) seen[index] = `${sequence} ${behaviour}`;
        if (behaviour === 'close') socket.end();
        else if (data.at(-1) === 0x54) {
          socket.write('T');
          if (behaviour === 'dieApplying') setImmediate(() => socket.destroy());
        }
      });
    },
  );
  const close = closer(server);
  return { seen, port: await listen(server), close };
}

/**
 * Delivers two batches to a far side that follows the script.
 *
 * @param broken what to do once the second connection was seen; the retry comes after it
 */
async function ship(
  script: readonly Behaviour[],
  connections: number,
  broken?: () => Promise<unknown>,
): Promise<string[]> {
  await redis.flushAll();
  const site = await Site.make();
  const server = await scripted(site, script);
  const interval = broken === undefined ? '100ms' : '3s';
  await site.configure({
    destinations: { replica: { port: server.port } },
    journals: [`name: foo, path: fifo/foo, to: replica, interval: ${interval}`],
    redis: redis.url,
  });
  const ferry = await site.start('run');
  const writer = new Writer(site.path('fifo/foo'));
  await writer.commit();
  await until('the first is confirmed', () => server.seen[0] === '1 ack');
  await writer.commit();
  if (broken !== undefined) {
    const failed = async () => (await site.route('foo@replica')).state === 'retrying';
    await until('a connection failed', failed);
    await broken();
  }
  await until(
    'all is confirmed',
    async () =>
      server.seen.length >= connections && (await site.route('foo@replica')).state === 'idle',
    ARRIVAL_MS,
  );
  await ferry.kill('SIGTERM');
  await server.close();
  return server.seen;
}

describe('a far side without duplicate detection', () => {
  it('is given the last confirmed batch once more after a connection that nobody answered', async () => {
    // It may have died while it applied batch 1, whose end looked like any other.
    assert.deepEqual(await ship(['ack', 'close'], 4), ['1 ack', '2 close', '1 ack', '2 ack']);
  });

  it('is given it too when Redis has forgotten that it was owed', async () => {
    const seen = await ship(['ack', 'close'], 4, () => redis.command('FLUSHALL'));
    assert.deepEqual(seen, ['1 ack', '2 close', '1 ack', '2 ack']);
  });

  it('is never given an older batch after one that it has answered', async () => {
    // Its answer to batch 2 proves that it had ended batch 1; from then on 1 would come too late.
    const script: Behaviour[] = ['ack', 'dieApplying', 'close'];
    assert.deepEqual(await ship(script, 4), ['1 ack', '2 dieApplying', '2 close', '2 ack']);
  });
});
