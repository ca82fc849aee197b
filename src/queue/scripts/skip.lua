--[[
  The operator gave the head up, and the spool knows it: the route moves on without a confirmation.

  KEYS[1] route hash   KEYS[2] accepted batches   KEYS[3] parked blobs
  ARGV: 1 generation   2 sequence   3 news channel   4 route name

  `previous` stays: it is the last confirmed one, and that one's payload stays with it until a
  successor is confirmed. But it is never sent again (`survived`): the one given up may have been
  applied, and an older batch behind a newer one would be worse than its loss.

  Answers: {'skipped', head, tail, confirmed, blobs: job ids of blobs that may run now, ...}; also
      when the head had moved on before; confirmed: 1 when it did so by an ack
    | {'wait', ms} somebody retried it and holds the lease
    | {'behind', head} Redis does not know that what came before is confirmed
    | {'stale'} no such route, or another generation
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local r = redis.call('HMGET', KEYS[1], 'generation', 'head', 'tail', 'lease', 'previous',
  'skipped')
if not r[1] or r[1] ~= ARGV[1] then return { 'stale' } end
local seq, head = tonumber(ARGV[2]), tonumber(r[2])
if head < seq then return { 'behind', head } end
if head == seq then
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local lease = tonumber(r[4])
  if lease > now then return { 'wait', lease - now } end
  head = seq + 1
  redis.call('HSET', KEYS[1], 'head', head, 'holder', '', 'lease', 0,
    'blocked', '', 'attempts', 0, 'error', '', 'resend', 0, 'survived', 1, 'skipped', seq)
  r[6] = seq
  redis.call('PUBLISH', ARGV[3], 'ack ' .. ARGV[4])
end
-- Asked again, too, as in ack.lua. What was confirmed after all is freed by its successor.
local given = redis.call('HGET', KEYS[2], seq)
if given and tonumber(r[5]) < seq then
  local payload = cjson.decode(given).payload
  if payload.kind == 'chunks' then
    for i = 0, payload.count - 1 do redis.call('UNLINK', payload.prefix .. i) end
  end
  redis.call('HDEL', KEYS[2], seq)
end
local confirmed = r[6] and tonumber(r[6]) < seq and 1 or 0
local answer = { 'skipped', head, tonumber(r[3]), confirmed }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', seq, 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[3], id)
  answer[#answer + 1] = id
end
return answer
