--[[
  Prolongs or gives back the lease, for the present holder only.

  KEYS[1] route hash
  ARGV: 1 generation   2 holder   3 lease in ms from now; 0 gives it back

  Answers: 1 done | 0 no longer the holder
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local r = redis.call('HMGET', KEYS[1], 'generation', 'holder')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return 0 end
local ms = tonumber(ARGV[3])
if ms == 0 then
  redis.call('HSET', KEYS[1], 'lease', 0, 'holder', '')
else
  local t = redis.call('TIME')
  redis.call('HSET', KEYS[1], 'lease', t[1] * 1000 + math.floor(t[2] / 1000) + ms)
end
return 1
