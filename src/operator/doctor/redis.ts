/** Redis: is it there, does it keep what it is told, may we use it, does its clock agree? */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../../common/errors.js';
import type { FerryConfig } from '../../config/model.js';
import { connectRedis, type RedisClient, type RedisTarget } from '../../queue/connection.js';
import {
  durabilityWarning,
  fsyncPolicy,
  infoField,
  OLDEST_REDIS,
  readSetting,
} from '../../queue/durability.js';
import { findRunningRedis } from '../../queue/embedded/findRunning.js';
import { findRedisServer } from '../../queue/embedded/findServer.js';
import { Keys } from '../../queue/keys.js';
import { readMemory, roomOf } from '../../queue/memory.js';
import { checkClock } from './clock.js';
import { count, type Examination, type Findings } from './examination.js';
import { checkRights } from './redisRights.js';

/** A host that is down says nothing; one that is far away answers within this. */
const CONNECT_MS = 5_000;

/** With `payloads: redis` less than this makes no sense. */
const MEMORY_MIN_BYTES = 32 * 1024 * 1024;
const MEBIBYTE = 1024 * 1024;

const CHECKS = [
  'redis role',
  'redis eviction',
  'redis durability',
  'redis memory',
  'redis rights',
  'clock',
] as const;

export function redisExamination(config: FerryConfig): Examination {
  return {
    check: 'redis',
    subject: placeOf(config),
    async run(findings) {
      const target = await reachableTarget(config, findings);
      if (target === null) return;
      let client: RedisClient | null = null;
      try {
        client = connectRedis(target, 'script');
        await connected(client);
      } catch (error) {
        findings.error('redis', error, hintFor(error));
        findings.skipped('Redis is not reachable', ...CHECKS);
        client?.disconnect();
        return;
      }
      try {
        await look(client, config, findings);
      } finally {
        client.disconnect();
      }
    },
  };
}

/** Null: it cannot be looked at, and that has been said. */
async function reachableTarget(
  config: FerryConfig,
  findings: Findings,
): Promise<RedisTarget | null> {
  const target = await findRunningRedis(config);
  if (target !== null || config.redis.kind === 'url') return target;
  if (await isHidden(config.stateDir)) {
    findings.skipped('this user may not look into the state directory', 'redis', ...CHECKS);
    return null;
  }
  try {
    const { how } = await findRedisServer();
    findings.ok('redis', `does not run now, and is started with the producer: ${how}`);
    findings.skipped('the embedded Redis does not run now', ...CHECKS);
  } catch (error) {
    findings.error('redis', error);
    findings.skipped('there is no Redis', ...CHECKS);
  }
  return null;
}

/** Whether an embedded Redis may be there that this user cannot see. */
async function isHidden(stateDir: string): Promise<boolean> {
  return access(join(stateDir, 'redis'), constants.R_OK | constants.X_OK).then(
    () => false,
    (error: unknown) => systemCode(error) !== 'ENOENT',
  );
}

/** Where it is, without passwords. */
function placeOf({ redis }: FerryConfig): string {
  if (redis.kind === 'embedded') return 'embedded';
  const list = (hosts: readonly { host: string; port: number }[]): string =>
    hosts.map(({ host, port }) => `${host}:${port}`).join(',');
  if (redis.sentinels !== null) {
    return `${redis.sentinels.name} at sentinels ${list(redis.sentinels.hosts)}`;
  }
  if (redis.cluster !== null) return `cluster ${list(redis.cluster)}`;
  return redis.url.replace(/\/\/[^@/]*@/, '//');
}

/** Rejects with the first error: nobody waits here until Redis comes back. */
function connected(client: RedisClient): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no answer within ${CONNECT_MS / 1000} s`)),
      CONNECT_MS,
    );
    const settle = (act: () => void): void => {
      clearTimeout(timer);
      act();
    };
    client.once('ready', () => settle(resolve));
    // Stays attached: what comes later must not end the process.
    client.on('error', (error: Error) => settle(() => reject(error)));
  });
}

function hintFor(error: unknown): string {
  const text = error instanceof Error ? error.message : '';
  if (/WRONGPASS|NOAUTH|invalid (username|password)/i.test(text)) {
    return 'correct redis.username and redis.password';
  }
  if (/certificate|self.signed|altname/i.test(text)) {
    return 'name its authority: redis: {tls: {ca: ./redis-ca.pem}}, or tls.servername';
  }
  if (/ENOENT|EACCES/.test(text)) return 'correct the path of the socket, or its rights';
  return 'start it, or correct its url; nothing is lost meanwhile, journals are left alone';
}

async function look(client: RedisClient, config: FerryConfig, findings: Findings): Promise<void> {
  let info: string;
  try {
    info = String(await client.info());
  } catch (error) {
    findings.error('redis', error, 'redis-cli ACL SETUSER <user> +info');
    findings.skipped('INFO is not allowed', ...CHECKS);
    return;
  }
  checkVersion(info, findings);
  await checkRole(client, info, config, findings);
  checkEviction(info, findings);
  await checkDurability(client, info, config, findings);
  await checkMemory(client, config, findings);
  await checkClock(client, findings);
  // Last: it ends with a subscription, behind which nothing else can be asked.
  await checkRights(client, new Keys(config.redis.prefix), findings);
}

function checkVersion(info: string, findings: Findings): void {
  const valkey = infoField(info, 'valkey_version');
  const version = valkey || infoField(info, 'redis_version') || '0.0.0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const name = `${valkey === '' ? 'Redis' : 'Valkey'} ${version}`;
  if (major < OLDEST_REDIS[0] || (major === OLDEST_REDIS[0] && minor < OLDEST_REDIS[1])) {
    findings.fail('redis', `${name} is too old`, 'use Redis 6.2 or newer, or Valkey');
  } else findings.ok('redis', `${name} answers`);
}

async function checkRole(
  client: RedisClient,
  info: string,
  { redis }: FerryConfig,
  findings: Findings,
): Promise<void> {
  const check = 'redis role';
  if (infoField(info, 'role') === 'slave') {
    findings.fail(
      check,
      'it is a replica and takes no writes',
      'name its primary, or let Sentinel name it: redis: {sentinels: {...}}',
    );
    return;
  }
  const clustered = infoField(info, 'cluster_enabled') === '1';
  if (clustered && redis.kind === 'url' && redis.cluster === null) {
    findings.warn(
      check,
      'it belongs to a cluster, and the configuration names only this node',
      'name the cluster, so that a failover is followed: redis: {cluster: ["host:6379", ...]}',
    );
    return;
  }
  const replicas = Number(infoField(info, 'connected_slaves') || '0');
  const what = `primary${clustered ? ' of our slot in a cluster' : ''}, ${count(replicas, 'replica')}`;
  const failsOver = redis.kind === 'url' && (redis.sentinels !== null || redis.cluster !== null);
  if (failsOver && replicas === 0) {
    findings.warn(check, `${what}: nobody takes over when it fails`, 'give it a replica');
    return;
  }
  const needed = await readSetting(client, 'min-replicas-to-write');
  if (replicas > 0 && needed === '0') {
    findings.warn(
      check,
      `${what}, and it takes writes without them: after a failover it may go on beside its successor`,
      'redis-cli CONFIG SET min-replicas-to-write 1',
    );
    return;
  }
  findings.ok(check, what);
}

function checkEviction(info: string, findings: Findings): void {
  const policy = infoField(info, 'maxmemory_policy');
  if (policy === '' || policy === 'noeviction') findings.ok('redis eviction', 'noeviction');
  else {
    findings.fail(
      'redis eviction',
      `batches may be evicted (maxmemory-policy ${policy})`,
      'redis-cli CONFIG SET maxmemory-policy noeviction, and put it into redis.conf',
    );
  }
}

async function checkDurability(
  client: RedisClient,
  info: string,
  { redis }: FerryConfig,
  findings: Findings,
): Promise<void> {
  const check = 'redis durability';
  if (infoField(info, 'aof_enabled') !== '1') {
    const hint = 'redis-cli CONFIG SET appendonly yes, and put it into redis.conf';
    if (redis.allowWithoutAof) {
      findings.warn(check, durabilityWarning('none') ?? '', `${hint}, if repeats cost much`);
    } else findings.fail(check, 'it keeps no append-only file, and so is not used', hint);
    return;
  }
  if (infoField(info, 'aof_last_write_status') === 'err') {
    findings.fail(
      check,
      'its last write to the append-only file has failed: it takes no writes',
      'look at its disk and at its log',
    );
    return;
  }
  const durability = await fsyncPolicy(client);
  const warning = durabilityWarning(durability);
  if (warning === null) findings.ok(check, 'append-only file, appendfsync always');
  else findings.warn(check, warning, 'redis-cli CONFIG SET appendfsync always');
}

async function checkMemory(
  client: RedisClient,
  { payloads }: FerryConfig,
  findings: Findings,
): Promise<void> {
  const check = 'redis memory';
  const memory = await readMemory(client);
  const { used, limit } = memory;
  if (limit === 0) {
    findings.ok(check, `${Math.ceil(used / MEBIBYTE)} MiB used, no limit of its own`);
    return;
  }
  const facts = `${Math.ceil(used / MEBIBYTE)} of ${Math.floor(limit / MEBIBYTE)} MiB used (maxmemory)`;
  const hint = 'raise maxmemory, lower limits.queued, or look for a destination that is down';
  if (used >= limit) findings.fail(check, `${facts}: it takes nothing more`, hint);
  else if (roomOf(memory) <= 0) findings.warn(check, `${facts}: batches wait in the spool`, hint);
  else if (payloads === 'redis' && limit < MEMORY_MIN_BYTES) {
    findings.warn(check, `${facts}: too little for payloads: redis`, 'raise maxmemory');
  } else findings.ok(check, facts);
}
