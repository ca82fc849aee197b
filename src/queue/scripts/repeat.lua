--[[
  The previous batch was confirmed once more, or is about to be: counted, and not asked for again.

  KEYS[1] route hash   ARGV: 1 generation   2 holder   3 done: 1 clears the wish, 0 only counts
  Answers: 1 done | 0 no longer the holder
]]
local r = redis.call('HMGET', KEYS[1], 'generation', 'holder')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] then return 0 end
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'resend', 0)
else
  redis.call('HINCRBY', KEYS[1], 'repeats', 1)
end
return 1
