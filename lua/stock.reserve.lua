-- stock.reserve: takes the units of all lines of an order, or of none (ORD-2, PRD-4), and leaves an entry in pending
-- until Postgres has decided about the order: for the orders that come at the same moment in one call, one after the
-- other.
-- Safe to run twice for the same order ids: the second run finds the entries of the first.
--
-- KEYS[1] available  hash    product id → units that can still be reserved
-- KEYS[2] pending    stream  entries that are not settled
-- KEYS[3..] entry    string  the entry of an order; one an order
-- ARGV[1..] orderId, lines, then productId and quantity a line; each product once an order
--
-- One answer an order:
-- 0 NOT_LOADED      productIds          those of the lines of which nothing is known: load them and ask again
-- 1 RESERVED        entryId
-- 2 INSUFFICIENT    productId, available   the first line that cannot be served

local NOT_LOADED, RESERVED, INSUFFICIENT = 0, 1, 2

local entryKeptMs = 120000

-- The lines of the order are at ARGV[from] to ARGV[to].
local function reserve(entryKey, orderId, from, to)
  local made = redis.call('GET', entryKey)
  if made then return { RESERVED, made } end

  local missing, short = {}, nil
  for at = from, to, 2 do
    local productId, available = ARGV[at], redis.call('HGET', KEYS[1], ARGV[at])
    if not available then
      missing[#missing + 1] = tonumber(productId)
    elseif tonumber(available) < tonumber(ARGV[at + 1]) then
      short = short or { INSUFFICIENT, tonumber(productId), tonumber(available) }
    end
  end
  if #missing > 0 then return { NOT_LOADED, missing } end
  if short then return short end

  for at = from, to, 2 do redis.call('HINCRBY', KEYS[1], ARGV[at], -ARGV[at + 1]) end
  local entryId =
    redis.call('XADD', KEYS[2], '*', 'kind', 'reserve', 'id', orderId, 'orderId', orderId, unpack(ARGV, from, to))
  redis.call('SET', entryKey, entryId, 'PX', entryKeptMs)
  return { RESERVED, entryId }
end

local answers, at = {}, 1
for i = 3, #KEYS do
  local to = at + 1 + 2 * ARGV[at + 1]
  answers[i - 2] = reserve(KEYS[i], ARGV[at], at + 2, to)
  at = to + 1
end
return answers
