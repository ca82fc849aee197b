--[[
  The operator's pause and resume, and the clearing of a block (replay).

  KEYS[1] route hash
  ARGV: 1 what: pause | resume | unblock

  Answers: {'held', head, tail, generation} state after it | {'unknown'} no such route
  A send that is on its way when a pause comes is finished; the next one is parked.
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
if redis.call('EXISTS', KEYS[1]) == 0 then return { 'unknown' } end
if ARGV[1] == 'pause' then redis.call('HSET', KEYS[1], 'paused', 1) end
if ARGV[1] == 'resume' then redis.call('HSET', KEYS[1], 'paused', 0) end
if ARGV[1] == 'unblock' then redis.call('HSET', KEYS[1], 'blocked', '', 'attempts', 0) end
local r = redis.call('HMGET', KEYS[1], 'head', 'tail', 'generation')
return { 'held', tonumber(r[1]), tonumber(r[2]), tonumber(r[3]) }
