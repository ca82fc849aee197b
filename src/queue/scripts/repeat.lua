--[[
  The previous batch was confirmed once more: counted, and not asked for again.

  KEYS[1] route hash   ARGV: 1 generation   2 holder
  Answers: 1 done | 0 no longer the holder
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local r = redis.call('HMGET', KEYS[1], 'generation', 'holder')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'resend', 0)
redis.call('HINCRBY', KEYS[1], 'repeats', 1)
return 1
