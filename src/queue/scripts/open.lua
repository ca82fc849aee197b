--[[
  Opens a route for the present Redis run. The only script that creates or rewinds a route.

  KEYS[1] route hash   KEYS[2] accepted batches   KEYS[3] set of routes
  ARGV: 1 route name   2 mode: resume | reset   3 stream   4 generation   5 run id
        6 head (reset)   7 previous: sequence last confirmed, 0 for none
        8 wait in ms before the first begin   9 interval in ms   10 attempts, 0 = for ever
        11 paused: 1, 0, or '' to leave as it is
        12 the batch last confirmed, as JSON, when it is to be confirmed once more before the head
           (reset); '' for none. Whether that was owed is forgotten with the hash
        13 prior: what was confirmed before that one, 0 for none (reset)
        14 may lose: 1 when a successor of this run may lack its last writes, else 0
        15 chain of the digests up to `previous`; taken where that is what Redis has confirmed

  Fields of the route hash
    stream generation run   whose route it is, and for which Redis run it is open
    mayLose                 0: a server that comes after this run and has the hash has all of it
    head tail previous      next to deliver, last accepted, last confirmed
    prior                   confirmed before `previous`, for its repeat
    holder epoch lease      who sends now, how many sends there were, until when (Redis ms)
    notBefore               no begin before this time (Redis ms): an older lease may still live
    paused blocked          operator's hold; sequence that ran out of attempts
    attempts error          failures of the head; the last one as JSON
    resend survived         1: confirm previous again; 1: it must never come again
    interval maxAttempts    from the configuration of the journal
    batches bytes repeats   totals confirmed; sends that may have been repeats
    skipped                 the last sequence that the head passed by the spool's word alone
    chain                   since:through:digest, over what is confirmed; believed while `through`
                            is `previous`: whoever does not know the field leaves it behind
    ackHolder               holder of the last ack, so that asking twice is answered alike

  Answers: {'open', head, tail} | {'differs', stream, generation} when the hash is not what the
  caller compared (resume), or is already of this or a later generation (reset).
  A reset takes the lease from whoever has it, and waits for its end: he may be sending.
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local cur = redis.call('HMGET', KEYS[1], 'stream', 'generation', 'epoch', 'lease', 'notBefore')
local notBefore = tonumber(ARGV[8]) > 0 and now + ARGV[8] or 0

if ARGV[2] == 'resume' then
  if cur[1] ~= ARGV[3] or cur[2] ~= ARGV[4] then
    return { 'differs', cur[1] or '', cur[2] or '' }
  end
else
  if cur[1] == ARGV[3] and tonumber(cur[2]) >= tonumber(ARGV[4]) then
    return { 'differs', cur[1], cur[2] }
  end
  notBefore = math.max(notBefore, tonumber(cur[4]) or 0, tonumber(cur[5]) or 0)
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1],
    'stream', ARGV[3], 'generation', ARGV[4],
    'head', ARGV[6], 'tail', tonumber(ARGV[6]) - 1, 'previous', ARGV[7],
    'prior', ARGV[13],
    'holder', '', 'ackHolder', '', 'epoch', cur[3] or 0, 'lease', 0,
    'blocked', '', 'attempts', 0, 'resend', 0, 'survived', 0,
    'error', '', 'skipped', tonumber(ARGV[6]) - 1)
  if ARGV[12] ~= '' then
    redis.call('HSET', KEYS[2], ARGV[7], ARGV[12])
    redis.call('HSET', KEYS[1], 'resend', 1)
  end
  redis.call('HSETNX', KEYS[1], 'paused', 0)
  redis.call('HSETNX', KEYS[1], 'batches', 0)
  redis.call('HSETNX', KEYS[1], 'bytes', 0)
  redis.call('HSETNX', KEYS[1], 'repeats', 0)
end

if redis.call('HGET', KEYS[1], 'previous') == ARGV[7] then
  redis.call('HSET', KEYS[1], 'chain', ARGV[15])
end
redis.call('HSETNX', KEYS[1], 'skipped', 0) -- an older version had opened it
redis.call('HSET', KEYS[1], 'run', ARGV[5], 'mayLose', ARGV[14], 'interval', ARGV[9],
  'maxAttempts', ARGV[10])
if notBefore > 0 or ARGV[2] == 'reset' then
  redis.call('HSET', KEYS[1], 'notBefore', notBefore)
end
if ARGV[11] ~= '' then redis.call('HSET', KEYS[1], 'paused', ARGV[11]) end
redis.call('SADD', KEYS[3], ARGV[1])
local after = redis.call('HMGET', KEYS[1], 'head', 'tail')
return { 'open', after[1], after[2] }
