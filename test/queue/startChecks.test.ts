import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { type Logger, pino } from 'pino';
import { ScriptConnection } from '../../src/queue/scriptConnection.js';
import { failOnLeaks } from '../support/leaks.js';
import { until } from '../support/process.js';
import { startTestRedis } from '../support/redis.js';
import { silent, urlConfig } from './helpers.js';

let close = async (): Promise<void> => undefined;
after(() => close());
const redis = await startTestRedis({ tcp: true });
failOnLeaks();

const opened: ScriptConnection[] = [];
close = async () => {
  for (const scripts of opened) await scripts.close();
};

function connect(
  more: Partial<ReturnType<typeof urlConfig>> = {},
  log: Logger = silent,
): ScriptConnection {
  const scripts = new ScriptConnection({ config: { ...urlConfig(redis.url), ...more } }, log);
  opened.push(scripts);
  return scripts;
}

/** The code of the refusal; an accepted server never gets one. */
async function refusal(scripts: ScriptConnection): Promise<string> {
  await until('the server is judged', () => scripts.refusal !== null || scripts.facts !== null);
  return scripts.refusal?.code ?? 'accepted';
}

async function config(name: string, value: string): Promise<void> {
  assert.equal(await redis.command('CONFIG', 'SET', name, value), 'OK');
}

describe('the start checks of a Redis', () => {
  it('accept one that keeps everything', async () => {
    const { durability, mayLose, runId } = await connect().ready();
    assert.deepEqual({ durability, mayLose }, { durability: 'always', mayLose: false });
    assert.match(runId, /^[0-9a-f]{40}$/);
  });

  it('refuse one that evicts, until that is changed', async () => {
    await config('maxmemory-policy', 'allkeys-lru');
    const scripts = connect();
    assert.equal(await refusal(scripts), 'REDIS_EVICTS');
    assert.equal(scripts.facts, null);
    await config('maxmemory-policy', 'noeviction');
    assert.equal((await scripts.ready()).durability, 'always');
    assert.equal(scripts.refusal, null);
  });

  it('refuse one without an append-only file, unless the configuration says so in words', async () => {
    await config('appendonly', 'no');
    assert.equal(await refusal(connect()), 'REDIS_NOT_DURABLE');
    assert.equal((await connect({ allowWithoutAof: true }).ready()).durability, 'none');
    await config('appendonly', 'yes');
  });

  it('say what a weaker sync policy may lose, and that the spool covers it', async () => {
    const may = {
      everysec: /lose its last second or two .*the spool keeps every batch/,
      no: /lose its last half minute .*the spool keeps every batch/,
    };
    for (const policy of ['everysec', 'no'] as const) {
      await config('appendfsync', policy);
      const lines: string[] = [];
      const log = pino({}, { write: (line: string) => lines.push(line) });
      const { durability, mayLose } = await connect({}, log).ready();
      assert.deepEqual({ durability, mayLose }, { durability: policy, mayLose: true });
      const said = lines.filter((line) => line.includes('"REDIS_MAY_LOSE"'));
      assert.equal(said.length, 1);
      assert.match(said[0] ?? '', may[policy]);
    }
    await config('appendfsync', 'always');
  });

  it('see that a server which syncs always may still lack what another had: a promoted replica, a primary with replicas', async () => {
    const promoted = await startTestRedis({ tcp: true });
    await promoted.command('REPLICAOF', '127.0.0.1', String(redis.port));
    await until('it follows', async () => (await redis.command('WAIT', '1', '1000')) === '1');
    assert.equal((await connect().ready()).mayLose, true, 'a primary with replicas');
    const scripts = connect({ url: promoted.url });
    assert.equal(await refusal(scripts), 'REDIS_REPLICA');
    await promoted.command('REPLICAOF', 'NO', 'ONE');
    const { durability, mayLose } = await scripts.ready();
    assert.deepEqual({ durability, mayLose }, { durability: 'always', mayLose: true });
  });

  it('work for a user who may not use CONFIG, and cannot know the policy then', async () => {
    await redis.command('ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '&*', '+@all', '-config');
    const facts = await connect({ username: 'plain', password: 'secret' }).ready();
    assert.equal(facts.durability, 'unknown');
  });

  it('name the right that a user lacks who may not use INFO', async () => {
    await redis.command('ACL', 'SETUSER', 'blind', 'on', '>secret', '~*', '&*', '+@all', '-info');
    const scripts = connect({ username: 'blind', password: 'secret' });
    assert.equal(await refusal(scripts), 'REDIS_NO_RIGHTS');
    assert.match(scripts.refusal?.hint ?? '', /\+info/);
    await redis.command('ACL', 'SETUSER', 'blind', '+info');
    await scripts.ready();
  });
});
