-- stock.load: makes products available with the units that a loader worked out. A product is skipped if, since its token
-- was written, an entry of it was announced or settled, or Redis was flushed.
--
-- KEYS[1] available  hash  product id → units
-- KEYS[2] loading    hash  product id → token of its loading
-- ARGV[1..] productId, token, units   three a product
--
-- 0 START_OVER  productIds   these were not loaded
-- 1 LOADED

local START_OVER, LOADED = 0, 1

local late = {}
for i = 1, #ARGV, 3 do
  local productId, isMine = ARGV[i], redis.call('HGET', KEYS[2], ARGV[i]) == ARGV[i + 1]
  if redis.call('HEXISTS', KEYS[1], productId) == 0 then
    if isMine then
      redis.call('HSET', KEYS[1], productId, ARGV[i + 2])
    else
      late[#late + 1] = tonumber(productId)
    end
  end
  if isMine then redis.call('HDEL', KEYS[2], productId) end
end
if #late > 0 then return { START_OVER, late } end
return { LOADED }
