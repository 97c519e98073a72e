-- coupon.issue: admits a user to a policy, or says why not (CPN-1, CPN-3). A grant is one unit taken from what
-- remains, the user's name on the holder key, and an entry in pending until Postgres has it.
-- Safe to run twice for the same coupon id: the second run finds its own grant and gives it again.
--
-- KEYS[1] policy   hash    total, remaining, startsAt, endsAt, holdersExpireAt, ...
-- KEYS[2] holder   string  the coupon of this user, see below
-- KEYS[3] pending  stream  grants that Postgres may not have yet
-- ARGV[1] couponId
-- ARGV[2] userId
--
-- 0 NOT_LOADED                        nothing known about the policy: load it and ask again
-- 1 ADMITTED        entryId           its first part is the time of issue in ms, by the clock of Redis
-- 2 ALREADY_ISSUED  couponId          committed: Postgres has this coupon
-- 3 IN_PROGRESS     couponId          granted, and not known to be committed yet
-- 4 NOT_STARTED
-- 5 ENDED
-- 6 SOLD_OUT

local NOT_LOADED, ADMITTED, ALREADY_ISSUED, IN_PROGRESS, NOT_STARTED, ENDED, SOLD_OUT = 0, 1, 2, 3, 4, 5, 6

-- A holder is '<couponId>' once committed, and '<couponId> <entryId>' while its grant is pending.
-- It comes first, so that a lost answer can be asked for again after the last unit and after the end.
local holder = redis.call('GET', KEYS[2])
if holder then
  local couponId, entryId = string.sub(holder, 1, 36), string.sub(holder, 38)
  if entryId == '' then return { ALREADY_ISSUED, couponId } end
  if couponId == ARGV[1] then return { ADMITTED, entryId } end
  return { IN_PROGRESS, couponId }
end

local policy = redis.call('HMGET', KEYS[1], 'remaining', 'startsAt', 'endsAt', 'holdersExpireAt')
local remaining = tonumber(policy[1])
if not remaining then return { NOT_LOADED } end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now < tonumber(policy[2]) then return { NOT_STARTED } end
if now >= tonumber(policy[3]) then return { ENDED } end
if remaining < 1 then return { SOLD_OUT } end

redis.call('HINCRBY', KEYS[1], 'remaining', -1)
local entryId = redis.call('XADD', KEYS[3], '*', 'couponId', ARGV[1], 'userId', ARGV[2])
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. entryId, 'NX', 'PXAT', policy[4])
return { ADMITTED, entryId }
