--[[
  The destination confirmed the head: the route moves on.

  KEYS[1] route hash   KEYS[2] accepted batches   KEYS[3] parked blobs
  ARGV: 1 generation   2 sequence   3 holder   4 bytes   5 news channel   6 route name
        7 chain of the digests up to this batch; '' when the holder does not know it

  The one confirmed before it is forgotten now, payload and all; this one is kept until its
  successor is confirmed, because a far side that dies while applying it must be given it once more.

  Answers: {'acked', head, tail, blobs: job ids of blobs that may run now, ...}
    | {'stale', head} another holder, another generation, or not the head
  Asked again by the same holder it answers 'acked' again: the first answer may have been lost.
]]
-- Redis refuses a script's first growing write when its memory is full; this one frees nothing and
-- is always allowed, so that acks, which free payload, get through.
redis.call('HDEL', KEYS[1], '')
local r = redis.call('HMGET', KEYS[1], 'generation', 'head', 'holder', 'tail', 'ackHolder',
  'previous')
if not r[1] then return { 'stale', 0 } end
local seq, head = tonumber(ARGV[2]), tonumber(r[2])
local repeated = r[1] == ARGV[1] and head == seq + 1 and r[5] == ARGV[3]
if not repeated then
  if r[1] ~= ARGV[1] or head ~= seq or r[3] ~= ARGV[3] then return { 'stale', head } end
  head = seq + 1
  redis.call('HSET', KEYS[1], 'head', head, 'previous', seq, 'prior', r[6], 'holder', '',
    'lease', 0, 'attempts', 0, 'error', '', 'resend', 0, 'survived', 0, 'ackHolder', ARGV[3],
    'chain', ARGV[7])
  redis.call('HINCRBY', KEYS[1], 'batches', 1)
  redis.call('HINCRBY', KEYS[1], 'bytes', ARGV[4])
  redis.call('PUBLISH', ARGV[5], 'ack ' .. ARGV[6])
end
-- Asked again, too: a chunk that a cluster is just moving away breaks the script off here.
-- Not always seq - 1: the operator may have skipped some in between.
local prior = redis.call('HGET', KEYS[1], 'prior') or '0'
local before = redis.call('HGET', KEYS[2], prior)
if before then
  local payload = cjson.decode(before).payload
  if payload.kind == 'chunks' then
    for i = 0, payload.count - 1 do redis.call('UNLINK', payload.prefix .. i) end
  end
  redis.call('HDEL', KEYS[2], prior)
end
local answer = { 'acked', head, tonumber(r[4]) }
-- Few at a time: their producer wakes the others, and those whose promotion fails.
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', seq, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[3], id)
  answer[#answer + 1] = id
end
return answer
