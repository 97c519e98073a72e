-- stock.announce: leaves an entry in pending for units that Postgres is about to give back (a cancellation) or add (a
-- restock), so that they reach Redis once even if the process dies between the two stores. A loader that looked earlier has
-- not seen the entry but may see its effect in Postgres, so it starts over.
-- Safe to run twice for the same id: the second run finds the entry of the first.
--
-- KEYS[1] pending  stream  entries that are not settled
-- KEYS[2] entry    string  the entry of this id
-- KEYS[3] loading  hash    product id → token of its loading
-- ARGV[1] kind     cancel or restock
-- ARGV[2] id       of the cancellation or restock
-- ARGV[3] orderId  of the order that is cancelled, or ''
-- ARGV[4..] productId, quantity   two a line, each product once
--
-- 0 ANNOUNCED  entryId

local ANNOUNCED = 0

local made = redis.call('GET', KEYS[2])
if made then return { ANNOUNCED, made } end

local fields = { 'kind', ARGV[1], 'id', ARGV[2], 'orderId', ARGV[3] }
for i = 4, #ARGV, 2 do
  fields[#fields + 1] = ARGV[i]
  fields[#fields + 1] = ARGV[i + 1]
  redis.call('HDEL', KEYS[3], ARGV[i])
end
local entryId = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('SET', KEYS[2], entryId, 'PX', 120000)
return { ANNOUNCED, entryId }
