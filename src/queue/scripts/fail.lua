--[[
  Records that the head was not confirmed, and gives the lease back. Never called for our own
  stop, nor for errors of Redis.

  KEYS[1] route hash
  ARGV: 1 generation   2 sequence   3 holder   4 error as JSON   5 resend: 1 when the far side may
        have died while it applied the batch before (then that one is confirmed once more); 2 when
        it answered this batch, which proves that it had not: the one before must never come again
        6 counted: 1 when the destination failed, 0 when the worker could not even try
        7 uncertain: 1 when it failed after the commit byte, so that the next send may be a repeat

  Answers: {'retry', attempts, interval} | {'blocked', attempts} | {'stale'}
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local r = redis.call('HMGET', KEYS[1], 'generation', 'head', 'holder', 'maxAttempts', 'interval',
  'survived')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] or r[3] ~= ARGV[3] then return { 'stale' } end
local attempts = redis.call('HINCRBY', KEYS[1], 'attempts', ARGV[6])
redis.call('HSET', KEYS[1], 'error', ARGV[4], 'holder', '', 'lease', 0)
if ARGV[5] == '2' then redis.call('HSET', KEYS[1], 'survived', 1, 'resend', 0) end
if ARGV[5] == '1' and r[6] ~= '1' then redis.call('HSET', KEYS[1], 'resend', 1) end
if ARGV[7] == '1' then redis.call('HINCRBY', KEYS[1], 'repeats', 1) end
local limit = tonumber(r[4])
if ARGV[6] == '1' and limit > 0 and attempts >= limit then
  redis.call('HSET', KEYS[1], 'blocked', ARGV[2])
  return { 'blocked', attempts }
end
return { 'retry', attempts, r[5] }
