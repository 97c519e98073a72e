-- stock.announce: leaves an entry in pending for units that Postgres is about to give back (a cancellation) or add (a
-- restock), so that they reach Redis once even if the process dies between the two stores. A loader that looked earlier has
-- not seen the entry but may see its effect in Postgres, so it starts over.
-- Safe to run twice for the same id: the second run finds the entry of the first.
--
-- KEYS[1] pending  hash  id → entry that is not settled, see stock.reserve
-- KEYS[2] loading  hash  product id → token of its loading
-- ARGV[1] kind     cancel or restock
-- ARGV[2] id       of the cancellation or restock
-- ARGV[3] orderId  of the order that is cancelled, or ''
-- ARGV[4..] productId, quantity   two a line, each product once
--
-- 0 ANNOUNCED

local ANNOUNCED = 0

if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then return { ANNOUNCED } end

local time = redis.call('TIME')
local madeAt = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = { 'madeAt', madeAt, 'kind', ARGV[1], 'orderId', ARGV[3], 'lines', unpack(ARGV, 4) }
redis.call('HSET', KEYS[1], ARGV[2], table.concat(entry, ' '))
for i = 4, #ARGV, 2 do redis.call('HDEL', KEYS[2], ARGV[i]) end
return { ANNOUNCED }
