/** Whether the Redis user may do what roles do. Tried, not read: who may read rights is an administrator. */
import type { RedisClient } from '../../queue/connection.js';
import type { Keys } from '../../queue/keys.js';
import type { Findings } from './examination.js';

/** Redis 6.2, 7 and Valkey have different words for it, and scripts others again. */
const FORBIDDEN = /NOPERM|can't (run|access)|No permissions/i;

/** Longest wait of a blocking command for a key that is not there. Seconds, as Redis has it. */
const BLOCK_SECONDS = '0.01';

/**
 * What our scripts and BullMQ's call, each by a command of its kind, on keys of our own that are
 * gone when the script ends: a script is one step, so nobody sees them.
 *
 * KEYS[1], KEYS[2] free names; answers the names of the commands that are forbidden.
 */
const TRY_IN_SCRIPT = `
local forbidden = {}
local function try(name, ...)
  local answer = redis.pcall(name, ...)
  if type(answer) == 'table' and answer.err and
    (answer.err:find('NOPERM') or answer.err:find("can't run") or answer.err:find("can't access")
      or answer.err:find('o permissions'))
  then forbidden[#forbidden + 1] = name end
end
try('TIME')
for _, call in ipairs({
  {'HSET', 'a', '1'}, {'HINCRBY', 'a', '1'}, {'HDEL', 'a'}, {'RPUSH', 'a'}, {'LREM', '0', 'a'},
  {'SADD', 'a'}, {'SREM', 'a'}, {'ZADD', '1', 'a'}, {'ZREM', 'a'}, {'SET', '1'}, {'PEXPIRE', '1000'},
  {'EXISTS'}, {'UNLINK'}, {'XADD', 'MAXLEN', '1', '*', 'a', '1'}, {'XTRIM', 'MAXLEN', '0'},
}) do
  local name = table.remove(call, 1)
  try(name, KEYS[1], unpack(call))
  if name == 'HDEL' or name == 'LREM' or name == 'SREM' or name == 'ZREM' then
    redis.pcall('DEL', KEYS[1])
  end
end
try('DEL', KEYS[1])
return forbidden
`;

export async function checkRights(
  client: RedisClient,
  keys: Keys,
  findings: Findings,
): Promise<void> {
  const check = 'redis rights';
  const key = `${keys.tag}:doctor`;
  const channel = `${keys.tag}:doctor`;
  const forbidden: string[] = [];
  const attempt = async (name: string, command: () => Promise<unknown>): Promise<unknown> => {
    try {
      return await command();
    } catch (error) {
      if (!(error instanceof Error) || !FORBIDDEN.test(error.message)) throw error;
      forbidden.push(name);
      return null;
    }
  };
  const inScript = await attempt('EVAL', () => client.eval(TRY_IN_SCRIPT, 1, key));
  if (Array.isArray(inScript)) forbidden.push(...inScript.map(String));
  await attempt('HGETALL', () => client.hgetall(key));
  await attempt('TYPE', () => client.type(key));
  await attempt('PTTL', () => client.pttl(key));
  await attempt('ZRANGE', () => client.zrange(key, '0', '0'));
  await attempt('XREAD', () => client.xread('COUNT', 1, 'STREAMS', key, '0'));
  await attempt('BZPOPMIN', () => client.call('BZPOPMIN', key, BLOCK_SECONDS));
  await attempt('MULTI', () => client.multi().ping().exec());
  await attempt('CLIENT SETNAME', () => client.client('SETNAME', 'ferry-doctor'));
  await attempt('PUBLISH', () => client.publish(channel, ''));
  await attempt('SUBSCRIBE', () => client.subscribe(channel));
  if (forbidden.length === 0) {
    findings.ok(check, 'this Redis user may do all that is needed');
    return;
  }
  findings.fail(
    check,
    `this Redis user may not: ${forbidden.join(', ')}`,
    `ACL SETUSER <user> '~${keys.tag}:*' '&${keys.tag}:*' +@all -@admin -@dangerous +info`,
  );
}
