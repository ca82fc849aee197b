--[[
  May this blob be sent now? One send per route and link at a time, and never before the batch
  that it follows is confirmed.

  KEYS[1] route hash   KEYS[2] blobs of the route   KEYS[3] parked blobs
  ARGV: 1 stream   2 run id   3 blob key   4 version   5 batch it follows
        6 holder   7 lease in ms   8 job id

  Answers: {'go', interval} | {'closed'} | {'stale'} another stream
    | {'delivered'} this version or a later one is confirmed | {'park'} | {'wait', ms}
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local r = redis.call('HMGET', KEYS[1], 'stream', 'run', 'head', 'paused', 'interval', 'notBefore')
if not r[1] or r[2] ~= ARGV[2] then return { 'closed' } end
if r[1] ~= ARGV[1] then return { 'stale' } end
local state = redis.call('HGET', KEYS[2], ARGV[3])
state = state and cjson.decode(state) or { version = 0, lease = 0, holder = '' }
if state.stream == ARGV[1] and tonumber(ARGV[4]) <= state.version then
  redis.call('ZREM', KEYS[3], ARGV[8])
  return { 'delivered' }
end
if state.stream ~= ARGV[1] then state.version = 0 end
if tonumber(r[3]) <= tonumber(ARGV[5]) or r[4] == '1' then
  redis.call('ZADD', KEYS[3], ARGV[5], ARGV[8])
  return { 'park' }
end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local free = math.max(state.lease, tonumber(r[6]) or 0)
if free > now then return { 'wait', free - now } end
state.stream = ARGV[1]
state.lease = now + ARGV[7]
state.holder = ARGV[6]
redis.call('HSET', KEYS[2], ARGV[3], cjson.encode(state))
redis.call('ZREM', KEYS[3], ARGV[8])
return { 'go', r[5] }
