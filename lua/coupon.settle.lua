-- coupon.settle: takes grants of one policy out of pending, with what Postgres decided about each.
-- Where Postgres decided otherwise than Redis, Redis is stale: what it believes is dropped, to be loaded again.
-- Safe to run twice: the second run finds no entry but the holder.
--
-- KEYS[1] policy   hash
-- KEYS[2] pending  hash    user id → grant, see coupon.issue
-- KEYS[3..] holder string  one a grant, whose user is its last part
-- ARGV[1] holdersExpireAt  ms
-- ARGV[2] couponIds        of all grants in one text, 36 characters each
-- ARGV[3..] heldId         one a grant: the coupon that the user holds in Postgres, '' when Postgres refused, 'back'
--                          when the grant never gets there and is given back
--
-- 0 SETTLED
-- 1 DROPPED         Redis was stale: the next call finds NOT_LOADED

local SETTLED, DROPPED = 0, 1

local userIds, pending = {}, {}
for i = 3, #KEYS do userIds[i - 2] = string.match(KEYS[i], '.*:(.*)') end
for i, entry in ipairs(redis.call('HMGET', KEYS[2], unpack(userIds))) do pending[userIds[i]] = entry end

local quantityIsStale, holdersAreStale = false, false
local removed, back = {}, 0
for i, userId in ipairs(userIds) do
  local couponId, heldId = string.sub(ARGV[2], 36 * i - 35, 36 * i), ARGV[2 + i]
  -- A grant that recovery has settled may have been followed by another one of the same user, which stays.
  local isPending = pending[userId] and string.match(pending[userId], 'couponId (%S+)') == couponId
  if isPending then
    removed[#removed + 1] = userId
    pending[userId] = false
  end

  if heldId == 'back' then
    if isPending then back = back + 1 end
  else
    -- Where Redis lost a grant (flushed, or an older copy), its count may lack the unit. One that has its holder was
    -- settled before, by recovery or by its own process.
    if not isPending and redis.call('GET', KEYS[2 + i]) ~= couponId then quantityIsStale = true end
    if heldId ~= '' then redis.call('SET', KEYS[2 + i], heldId, 'PXAT', ARGV[1]) end
    if heldId ~= couponId then
      quantityIsStale, holdersAreStale = true, true
    end
  end
end
if #removed > 0 then redis.call('HDEL', KEYS[2], unpack(removed)) end
if back > 0 and redis.call('HEXISTS', KEYS[1], 'remaining') == 1 then
  redis.call('HINCRBY', KEYS[1], 'remaining', back)
end

-- A loader that read Postgres before this point has missed these grants: the counter makes it read again.
redis.call('HINCRBY', KEYS[1], 'settles', 1)
if quantityIsStale then redis.call('HDEL', KEYS[1], 'remaining') end
if holdersAreStale then redis.call('HDEL', KEYS[1], 'holdersUpTo', 'loader') end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
return { (quantityIsStale or holdersAreStale) and DROPPED or SETTLED }
