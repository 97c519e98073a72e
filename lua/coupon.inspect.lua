-- coupon.inspect: what Redis holds of a policy at one instant. Two answers with the same revision mean that no grant
-- was admitted or settled between them.
--
-- KEYS[1] policy   hash
-- KEYS[2] pending  stream
--
-- 0 NOT_LOADED      holdersLoaded, settles, revision, couponIds   holdersLoaded is 1 or 0, couponIds those pending
-- 1 LOADED          holdersLoaded, settles, revision, couponIds, remaining, terms
--   terms is 'total startsAt endsAt' as they were loaded, times in ms, and 'none' for what is not there

local NOT_LOADED, LOADED = 0, 1

local policy = redis.call('HMGET', KEYS[1], 'holdersLoaded', 'settles', 'remaining', 'total', 'startsAt', 'endsAt')
local settles = tonumber(policy[2] or 0)

local couponIds, added = {}, 0
if redis.call('EXISTS', KEYS[2]) == 1 then
  for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
    couponIds[#couponIds + 1] = entry[2][2]
  end
  local info = redis.call('XINFO', 'STREAM', KEYS[2])
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then added = info[i + 1] end
  end
end

local holdersLoaded = policy[1] and 1 or 0
local revision = added .. '-' .. settles
if not policy[3] then return { NOT_LOADED, holdersLoaded, settles, revision, couponIds } end

local terms = (policy[4] or 'none') .. ' ' .. (policy[5] or 'none') .. ' ' .. (policy[6] or 'none')
return { LOADED, holdersLoaded, settles, revision, couponIds, tonumber(policy[3]), terms }
