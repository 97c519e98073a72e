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

-- Ids are answered as the texts that they came as: clients read integers near 2^53 inexactly.

local NOT_LOADED, RESERVED, INSUFFICIENT = 0, 1, 2

local entryKeptMs = 120000

-- Of the products that were looked at: the units that are left (false where nothing is known), and those of them that
-- this call takes. Each is read once and written once, however many orders want it.
local left, taken = {}, {}
-- The entries that this call makes, by their key.
local made = {}

local function leftOf(productId)
  if left[productId] == nil then left[productId] = tonumber(redis.call('HGET', KEYS[1], productId)) or false end
  return left[productId]
end

-- The lines of the order are at ARGV[from] to ARGV[to].
local function reserve(entryKey, entry, orderId, from, to)
  entry = entry or made[entryKey]
  if entry then return { RESERVED, entry } end

  local missing, short = {}, nil
  for at = from, to, 2 do
    local productId, available = ARGV[at], leftOf(ARGV[at])
    if not available then
      missing[#missing + 1] = productId
    elseif available < tonumber(ARGV[at + 1]) then
      short = short or { INSUFFICIENT, productId, available }
    end
  end
  if #missing > 0 then return { NOT_LOADED, missing } end
  if short then return short end

  for at = from, to, 2 do
    local productId, quantity = ARGV[at], tonumber(ARGV[at + 1])
    left[productId] = left[productId] - quantity
    taken[productId] = (taken[productId] or 0) + quantity
  end
  local entryId =
    redis.call('XADD', KEYS[2], '*', 'kind', 'reserve', 'id', orderId, 'orderId', orderId, unpack(ARGV, from, to))
  made[entryKey] = entryId
  redis.call('SET', entryKey, entryId, 'PX', entryKeptMs)
  return { RESERVED, entryId }
end

local entries, answers, at = redis.call('MGET', unpack(KEYS, 3)), {}, 1
for i = 1, #entries do
  local to = at + 1 + 2 * ARGV[at + 1]
  answers[i] = reserve(KEYS[2 + i], entries[i], ARGV[at], at + 2, to)
  at = to + 1
end
for productId, quantity in pairs(taken) do redis.call('HINCRBY', KEYS[1], productId, -quantity) end
return answers
