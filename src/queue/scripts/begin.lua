--[[
  May this batch be sent now? Every run of the batch processor asks this first.

  KEYS[1] route hash   KEYS[2] accepted batches
  ARGV: 1 generation   2 run id   3 sequence   4 holder: unique to this activation   5 lease in ms

  Answers:
    {'go', epoch, previous, attempts, repeat, prior, chain} lease taken; repeat: JSON of the
                   previous batch when it must be confirmed once more before this one, else '';
                   prior: what was confirmed before that one; chain: of what is confirmed, or ''
    {'closed'}     not open for this Redis run: try again shortly, its producer will open it
    {'stale'}      an older generation's job: nothing to do
    {'delivered'}  below the head: nothing to do
    {'park'}       not its turn, or paused: sleep until promoted
    {'wait', ms}   somebody holds the lease, or may still hold one from before a loss of Redis
  A run of a blocked head means that somebody retried it: the block is cleared.
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local r = redis.call('HMGET', KEYS[1], 'generation', 'run', 'head', 'tail', 'paused', 'lease',
  'notBefore', 'previous', 'blocked', 'resend', 'attempts', 'holder',
  'prior', 'chain')
if not r[1] then return { 'closed' } end
if r[1] ~= ARGV[1] then return { 'stale' } end
if r[2] ~= ARGV[2] then return { 'closed' } end
local seq, head = tonumber(ARGV[3]), tonumber(r[3])
if seq < head then return { 'delivered' } end
if seq > head or seq > tonumber(r[4]) or r[5] == '1' then return { 'park' } end

local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local free = math.max(tonumber(r[6]) or 0, tonumber(r[7]) or 0)
if free > now then return { 'wait', free - now } end

local attempts = r[11]
if r[9] ~= '' then
  attempts = '0'
  redis.call('HSET', KEYS[1], 'blocked', '', 'attempts', 0)
end
-- A holder that neither failed nor gave back may have been killed after its commit byte.
if r[12] and r[12] ~= '' then redis.call('HINCRBY', KEYS[1], 'repeats', 1) end
local again = ''
if r[10] == '1' and tonumber(r[8]) > 0 then
  again = redis.call('HGET', KEYS[2], r[8]) or ''
end
local epoch = redis.call('HINCRBY', KEYS[1], 'epoch', 1)
redis.call('HSET', KEYS[1], 'holder', ARGV[4], 'lease', now + ARGV[5])
return { 'go', epoch, r[8], attempts, again, r[13] or 0, r[14] or '' }
