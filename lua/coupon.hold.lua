-- coupon.hold: writes holders of a policy as committed, as Postgres has them. Many in one call: a command each cost the
-- service several times as much.
-- Safe to run twice, and while the policy is open: Postgres never takes a coupon back.
--
-- KEYS[1..] holder  string  one a coupon
-- ARGV[1] holdersExpireAt  ms
-- ARGV[2..] couponId       one a holder
--
-- 0 HELD

local HELD = 0

for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[i + 1], 'PXAT', ARGV[1]) end
return { HELD }
