-- stock.inspect: what Redis holds of some products of one shard at one instant.
--
-- KEYS[1] available  hash    product id → units
-- KEYS[2] pending    hash    id → entry, see stock.reserve
-- ARGV[1..] productId
--
-- 0 INSPECTED  units, entries   units: a list like the product ids, '' where one is not loaded; entries: all pending,
--                              id, entry, …

local INSPECTED = 0

local units = redis.call('HMGET', KEYS[1], unpack(ARGV))
for i = 1, #ARGV do units[i] = units[i] or '' end
return { INSPECTED, units, redis.call('HGETALL', KEYS[2]) }
