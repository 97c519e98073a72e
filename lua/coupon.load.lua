-- coupon.load: makes a policy available with the quantity that the loader worked out, unless something happened
-- since the loader looked. The holders are there by then: the quantity is what opens the policy.
--
-- KEYS[1] policy   hash
-- ARGV[1] loader           token that this loader wrote before it loaded the holders; a flush takes it away
-- ARGV[2] settles          the counter as the loader saw it before it read Postgres
-- ARGV[3] total
-- ARGV[4] remaining
-- ARGV[5] startsAt         ms
-- ARGV[6] endsAt           ms
-- ARGV[7] holdersExpireAt  ms
-- ARGV[8] holdersUpTo      the rank up to which loaders have written the holders: those behind it were written by
--                          their settlement, unless Redis lost that, and the next loader begins there
--
-- 0 START_OVER      flushed, dropped, or taken over by another loader: the holders may be incomplete
-- 1 READ_AGAIN      a grant was settled in between: the quantity is out of date
-- 2 LOADED

local START_OVER, READ_AGAIN, LOADED = 0, 1, 2

local policy = redis.call('HMGET', KEYS[1], 'remaining', 'loader', 'settles')
if policy[1] then return { LOADED } end
if policy[2] ~= ARGV[1] then return { START_OVER } end
if tonumber(policy[3] or 0) ~= tonumber(ARGV[2]) then return { READ_AGAIN } end

redis.call('HSET', KEYS[1], 'total', ARGV[3], 'remaining', ARGV[4], 'startsAt', ARGV[5], 'endsAt', ARGV[6],
  'holdersExpireAt', ARGV[7], 'holdersUpTo', ARGV[8])
redis.call('HDEL', KEYS[1], 'loader')
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
return { LOADED }
