-- stock.reserve: takes the units of all lines of an order, or of none (ORD-2, PRD-4), and leaves an entry in pending
-- until Postgres has decided about the order.
-- Safe to run twice for the same order id: the second run finds the entry of the first.
--
-- KEYS[1] available  hash    product id → units that can still be reserved
-- KEYS[2] pending    stream  entries that are not settled
-- KEYS[3] entry      string  the entry of this order
-- ARGV[1] orderId
-- ARGV[2..] productId, quantity   two a line, each product once
--
-- 0 NOT_LOADED      productIds          those of the lines of which nothing is known: load them and ask again
-- 1 RESERVED        entryId
-- 2 INSUFFICIENT    productId, available   the first line that cannot be served

local NOT_LOADED, RESERVED, INSUFFICIENT = 0, 1, 2

local made = redis.call('GET', KEYS[3])
if made then return { RESERVED, made } end

local productIds = {}
for i = 2, #ARGV, 2 do productIds[#productIds + 1] = ARGV[i] end
local available = redis.call('HMGET', KEYS[1], unpack(productIds))

local missing, short = {}, nil
for line, productId in ipairs(productIds) do
  if not available[line] then
    missing[#missing + 1] = tonumber(productId)
  elseif tonumber(available[line]) < tonumber(ARGV[2 * line + 1]) then
    short = short or { INSUFFICIENT, tonumber(productId), tonumber(available[line]) }
  end
end
if #missing > 0 then return { NOT_LOADED, missing } end
if short then return short end

local fields = { 'kind', 'reserve', 'id', ARGV[1], 'orderId', ARGV[1] }
for line, productId in ipairs(productIds) do
  redis.call('HINCRBY', KEYS[1], productId, -ARGV[2 * line + 1])
  fields[#fields + 1] = productId
  fields[#fields + 1] = ARGV[2 * line + 1]
end
local entryId = redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('SET', KEYS[3], entryId, 'PX', 600000)
return { RESERVED, entryId }
