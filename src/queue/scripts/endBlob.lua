--[[
  Prolongs or gives back a blob's lease, or records that its version is confirmed.

  KEYS[1] blobs of the route
  ARGV: 1 stream   2 blob key   3 holder   4 what: renew | release | confirm
        5 lease in ms (renew) or version (confirm)   6 news channel   7 route name
        8 as JSON: the file as it was sent (confirm), or the error, '' for none (release)

  Answers: 1 done | 0 no longer the holder
]]
redis.call('HDEL', KEYS[1], '') -- as in ack.lua: allowed when memory is full
local raw = redis.call('HGET', KEYS[1], ARGV[2])
if not raw then return 0 end
local state = cjson.decode(raw)
if state.stream ~= ARGV[1] or state.holder ~= ARGV[3] then return 0 end
if ARGV[4] == 'renew' then
  local t = redis.call('TIME')
  state.lease = t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[5]
elseif ARGV[4] == 'confirm' then
  if tonumber(ARGV[5]) > state.version then
    state.version = tonumber(ARGV[5])
    state.sent = ARGV[8]
  end
  state.lease = 0
  state.error = nil
  redis.call('PUBLISH', ARGV[6], 'blob ' .. ARGV[7] .. ' ' .. ARGV[2] .. ' ' .. state.version)
else
  state.lease = 0
  state.holder = ''
  if ARGV[8] ~= '' then state.error = ARGV[8] end
end
redis.call('HSET', KEYS[1], ARGV[2], cjson.encode(state))
return 1
