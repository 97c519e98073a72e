-- coupon.settle: takes grants of one policy out of pending, with what Postgres decided about each.
-- Where Postgres decided otherwise than Redis, Redis is stale: what it believes is dropped, to be loaded again.
-- Safe to run twice: the second run finds no entry, and at worst has the quantity loaded again.
--
-- KEYS[1] policy   hash
-- KEYS[2] pending  stream
-- KEYS[3..] holder string  one a grant
-- ARGV[1] holdersExpireAt  ms
-- ARGV[2..] entryId, couponId, heldId   three a grant; heldId is the coupon that the user holds in Postgres, '' when
--                                      Postgres refused, 'back' when the grant never gets there and is given back
--
-- 0 SETTLED
-- 1 DROPPED         Redis was stale: the next call finds NOT_LOADED

local SETTLED, DROPPED = 0, 1

local quantityIsStale, holdersAreStale = false, false
local decided = {}
for i = 3, #KEYS do
  local at = 2 + (i - 3) * 3
  local entryId, couponId, heldId = ARGV[at], ARGV[at + 1], ARGV[at + 2]

  if heldId ~= '' and heldId ~= 'back' then
    redis.call('SET', KEYS[i], heldId, 'PXAT', ARGV[1])
  elseif redis.call('GET', KEYS[i]) == couponId .. ' ' .. entryId then
    -- Only while it is pending: without its entry the holder is one that somebody else, recovery say, has committed.
    redis.call('DEL', KEYS[i])
  end

  if heldId == 'back' then
    local removed = redis.call('XDEL', KEYS[2], entryId)
    if removed == 1 and redis.call('HEXISTS', KEYS[1], 'remaining') == 1 then
      redis.call('HINCRBY', KEYS[1], 'remaining', 1)
    end
  else
    decided[#decided + 1] = entryId
    if heldId ~= couponId then
      quantityIsStale, holdersAreStale = true, true
    end
  end
end
-- Where Redis lost one of them (flushed, or an older copy), its count may lack the unit.
if #decided > 0 and redis.call('XDEL', KEYS[2], unpack(decided)) < #decided then quantityIsStale = true end

-- A loader that read Postgres before this point has missed these grants: the counter makes it read again.
redis.call('HINCRBY', KEYS[1], 'settles', 1)
if quantityIsStale then redis.call('HDEL', KEYS[1], 'remaining') end
if holdersAreStale then redis.call('HDEL', KEYS[1], 'holdersLoaded', 'loader') end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
redis.call('PEXPIREAT', KEYS[2], ARGV[1])
return { (quantityIsStale or holdersAreStale) and DROPPED or SETTLED }
