-- coupon.inspect: what Redis holds of a policy at one instant. Two answers with the same revision mean that no grant
-- was admitted or settled between them.
--
-- KEYS[1] policy   hash
-- KEYS[2] pending  hash  user id → grant, see coupon.issue
--
-- 0 NOT_LOADED      holdersUpTo, settles, revision, couponIds   couponIds are those pending; holdersUpTo see coupon.load,
--                                                              -1 when the holders are not loaded
-- 1 LOADED          holdersUpTo, settles, revision, couponIds, remaining, terms
--   terms is 'total startsAt endsAt' as they were loaded, times in ms, and 'none' for what is not there

local NOT_LOADED, LOADED = 0, 1

local policy = redis.call('HMGET', KEYS[1], 'holdersUpTo', 'settles', 'remaining', 'total', 'startsAt', 'endsAt')
local settles = tonumber(policy[2] or 0)

local couponIds = {}
for i, entry in ipairs(redis.call('HVALS', KEYS[2])) do couponIds[i] = string.match(entry, 'couponId (%S+)') end

local holdersUpTo = tonumber(policy[1] or -1)
-- What is admitted stays pending until it is settled, so that as long as nothing was, the number of them tells.
local revision = #couponIds .. '-' .. settles
if not policy[3] then return { NOT_LOADED, holdersUpTo, settles, revision, couponIds } end

local terms = (policy[4] or 'none') .. ' ' .. (policy[5] or 'none') .. ' ' .. (policy[6] or 'none')
return { LOADED, holdersUpTo, settles, revision, couponIds, tonumber(policy[3]), terms }
