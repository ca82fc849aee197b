--[[
  Takes the next batch of a route. Asking again is harmless.

  KEYS[1] route hash   KEYS[2] accepted batches
  ARGV: 1 stream   2 generation   3 run id   4 sequence   5 sha256   6 batch as JSON

  Answers: {'accepted', head} | {'duplicate', head} | {'closed'} not open for this run
    | {'foreign'} another stream or generation: never a duplicate, whatever the number
    | {'conflict'} known with another digest | {'gap', tail}
]]
local r = redis.call('HMGET', KEYS[1], 'stream', 'generation', 'run', 'head', 'tail')
if not r[1] or r[3] ~= ARGV[3] then return { 'closed' } end
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return { 'foreign' } end
local seq, head, tail = tonumber(ARGV[4]), tonumber(r[4]), tonumber(r[5])
if seq <= tail then
  local known = redis.call('HGET', KEYS[2], ARGV[4])
  if known and cjson.decode(known).sha256 ~= ARGV[5] then return { 'conflict' } end
  return { 'duplicate', head }
end
if seq ~= tail + 1 then return { 'gap', tail } end
redis.call('HSET', KEYS[2], ARGV[4], ARGV[6])
redis.call('HSET', KEYS[1], 'tail', seq)
return { 'accepted', head }
