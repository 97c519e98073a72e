-- coupon.issue: admits users to a policy, or says why not (CPN-1, CPN-3): those who ask at the same moment in one call,
-- one after the other. A grant is one unit taken from what remains, the user's name on the holder key, and an entry in
-- pending until Postgres has it.
-- Safe to run twice for the same coupon ids: the second run finds its own grants and gives them again.
--
-- KEYS[1] policy     hash    total, remaining, startsAt, endsAt, holdersExpireAt, ...
-- KEYS[2] pending    stream  grants that Postgres may not have yet
-- KEYS[3..] holder   string  the coupon of a user, see below; one a user
-- ARGV[1..] couponId, userId   two a user
--
-- One answer a user:
-- 0 NOT_LOADED                        nothing known about the policy: load it and ask again
-- 1 ADMITTED        entryId           its first part is the time of issue in ms, by the clock of Redis
-- 2 ALREADY_ISSUED  couponId          committed: Postgres has this coupon
-- 3 IN_PROGRESS     couponId          granted, and not known to be committed yet
-- 4 NOT_STARTED
-- 5 ENDED
-- 6 SOLD_OUT

local NOT_LOADED, ADMITTED, ALREADY_ISSUED, IN_PROGRESS, NOT_STARTED, ENDED, SOLD_OUT = 0, 1, 2, 3, 4, 5, 6

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local policy = redis.call('HMGET', KEYS[1], 'remaining', 'startsAt', 'endsAt', 'holdersExpireAt')
local remaining, startsAt, endsAt = tonumber(policy[1]), tonumber(policy[2]), tonumber(policy[3])

-- What this call grants: units, and holders by their key, as one user may be there twice.
local granted, made = 0, {}

local function admit(holderKey, holder, couponId, userId)
  -- A holder is '<couponId>' once committed, and '<couponId> <entryId>' while its grant is pending.
  -- It comes first, so that a lost answer can be asked for again after the last unit and after the end.
  holder = holder or made[holderKey]
  if holder then
    local heldId, entryId = string.sub(holder, 1, 36), string.sub(holder, 38)
    if entryId == '' then return { ALREADY_ISSUED, heldId } end
    if heldId == couponId then return { ADMITTED, entryId } end
    return { IN_PROGRESS, heldId }
  end

  if not remaining then return { NOT_LOADED } end
  if now < startsAt then return { NOT_STARTED } end
  if now >= endsAt then return { ENDED } end
  if remaining - granted < 1 then return { SOLD_OUT } end

  granted = granted + 1
  local entryId = redis.call('XADD', KEYS[2], '*', 'couponId', couponId, 'userId', userId)
  made[holderKey] = couponId .. ' ' .. entryId
  redis.call('SET', holderKey, made[holderKey], 'NX', 'PXAT', policy[4])
  return { ADMITTED, entryId }
end

local holders, answers = redis.call('MGET', unpack(KEYS, 3)), {}
for i = 1, #holders do answers[i] = admit(KEYS[2 + i], holders[i], ARGV[2 * i - 1], ARGV[2 * i]) end
if granted > 0 then redis.call('HINCRBY', KEYS[1], 'remaining', -granted) end
return answers
