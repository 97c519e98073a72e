-- coupon.issue: admits users to a policy, or says why not (CPN-1, CPN-3): those who ask at the same moment in one call,
-- one after the other. A grant is one unit taken from what remains, and an entry in pending until Postgres has it.
-- Safe to run twice for the same coupon ids: the second run finds its own grants and gives them again.
--
-- KEYS[1] policy     hash    total, remaining, startsAt, endsAt, holdersExpireAt, ...
-- KEYS[2] pending    hash    user id → grant that Postgres may not have yet
-- KEYS[3..] holder   string  the coupon of a user, which Postgres has; one a user, whose id is its last part
-- ARGV[1] couponIds          of all users in one text, 36 characters each: an argument a user costs more than its use
--
-- One answer a user, a line each, as one text: a list of lists costs the service twice as much to read.
-- 0 NOT_LOADED                        nothing known about the policy: load it and ask again
-- 1 ADMITTED        issuedAt          the time of issue in ms, by the clock of Redis
-- 2 ALREADY_ISSUED  couponId          committed: Postgres has this coupon
-- 3 IN_PROGRESS     couponId          granted, and not known to be committed yet
-- 4 NOT_STARTED
-- 5 ENDED
-- 6 SOLD_OUT
--
-- An entry is 'madeAt <ms> couponId <id>', dated by the time of issue. Its words tell what it is, and make it longer
-- than 64 bytes: of shorter ones Redis makes a list that it searches for each user (hash-max-listpack-value).

local NOT_LOADED, ADMITTED, ALREADY_ISSUED, IN_PROGRESS, NOT_STARTED, ENDED, SOLD_OUT = 0, 1, 2, 3, 4, 5, 6

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local policy = redis.call('HMGET', KEYS[1], 'remaining', 'startsAt', 'endsAt', 'holdersExpireAt')
local remaining, startsAt, endsAt = tonumber(policy[1]), tonumber(policy[2]), tonumber(policy[3])

local userIds, pending = {}, {}
for i = 3, #KEYS do userIds[i - 2] = string.match(KEYS[i], '.*:(.*)') end
for i, entry in ipairs(redis.call('HMGET', KEYS[2], unpack(userIds))) do pending[userIds[i]] = entry end

-- The entries that this call makes: user id, entry, …
local made = {}

local function admit(heldId, couponId, userId)
  -- What the user has comes first, so that a lost answer can be asked for again after the last unit and after the end.
  if heldId then return ALREADY_ISSUED .. ' ' .. heldId end
  if pending[userId] then
    local madeAt, pendingId = string.match(pending[userId], '^madeAt (%d+) couponId (%S+)')
    if pendingId == couponId then return ADMITTED .. ' ' .. madeAt end
    return IN_PROGRESS .. ' ' .. pendingId
  end

  if not remaining then return NOT_LOADED end
  if now < startsAt then return NOT_STARTED end
  if now >= endsAt then return ENDED end
  if remaining - #made / 2 < 1 then return SOLD_OUT end

  pending[userId] = 'madeAt ' .. now .. ' couponId ' .. couponId
  made[#made + 1] = userId
  made[#made + 1] = pending[userId]
  return ADMITTED .. ' ' .. now
end

local answers = {}
for i, holder in ipairs(redis.call('MGET', unpack(KEYS, 3))) do
  answers[i] = admit(holder, string.sub(ARGV[1], 36 * i - 35, 36 * i), userIds[i])
end
if #made > 0 then
  redis.call('HINCRBY', KEYS[1], 'remaining', -#made / 2)
  redis.call('HSET', KEYS[2], unpack(made))
  redis.call('PEXPIREAT', KEYS[2], policy[4])
end
return table.concat(answers, '\n')
