-- sales.top: the products of one shard that sold most over some days (PRD-6). Products that tie with the last place are
-- all given: the caller breaks ties.
--
-- KEYS[1] counted  hash        day → 1
-- KEYS[2..] sales  sorted set  one key a day
-- ARGV[1] limit
-- ARGV[2..] day    yyyymmdd, in the order of the keys
--
-- 0 NOT_COUNTED  days   of these the sales are not complete: count them anew
-- 1 COUNTED      productId, quantity, …   flat, best first

local NOT_COUNTED, COUNTED = 0, 1

local missing, union = {}, { 'ZUNION', #KEYS - 1 }
for i = 2, #KEYS do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 0 then missing[#missing + 1] = ARGV[i] end
  union[#union + 1] = KEYS[i]
end
if #missing > 0 then return { NOT_COUNTED, missing } end
union[#union + 1] = 'WITHSCORES'

-- Ascending by quantity.
local flat = redis.call(unpack(union))
local best, last = {}, nil
for i = #flat - 1, 1, -2 do
  local quantity = tonumber(flat[i + 1])
  if quantity <= 0 or (#best >= 2 * ARGV[1] and quantity < last) then break end
  best[#best + 1] = tonumber(flat[i])
  best[#best + 1] = quantity
  last = quantity
end
return { COUNTED, best }
