-- stock.load: makes products available with the units that a loader worked out, each unless something of it was
-- settled, or Redis was flushed, since the loader wrote its token.
--
-- KEYS[1] available  hash  product id → units
-- KEYS[2] loading    hash  product id → token of its loader
-- ARGV[1] token
-- ARGV[2..] productId, units   two a product
--
-- 0 START_OVER  productIds   these were not loaded
-- 1 LOADED

local START_OVER, LOADED = 0, 1

local late = {}
for i = 2, #ARGV, 2 do
  local productId = ARGV[i]
  if redis.call('HEXISTS', KEYS[1], productId) == 0 then
    if redis.call('HGET', KEYS[2], productId) == ARGV[1] then
      redis.call('HSET', KEYS[1], productId, ARGV[i + 1])
    else
      late[#late + 1] = tonumber(productId)
    end
  end
  if redis.call('HGET', KEYS[2], productId) == ARGV[1] then redis.call('HDEL', KEYS[2], productId) end
end
if #late > 0 then return { START_OVER, late } end
return { LOADED }
