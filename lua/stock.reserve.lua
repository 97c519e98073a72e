-- stock.reserve: takes the units of all lines of an order, or of none (ORD-2, PRD-4), and leaves an entry in pending
-- until Postgres has decided about the order: for the orders that come at the same moment in one call, one after the
-- other.
-- Safe to run twice for the same order ids: the second run finds the entries of the first.
--
-- KEYS[1] available  hash  product id → units that can still be reserved
-- KEYS[2] pending    hash  id → entry that is not settled; the id of a reservation is that of its order
-- ARGV[1..] order    '<orderId> <productId> <quantity> …', each product once: an argument for each costs more than
--                    its use
--
-- One answer an order, a line each, as one text:
-- 0 NOT_LOADED      productIds          those of the lines of which nothing is known: load them and ask again
-- 1 RESERVED
-- 2 INSUFFICIENT    productId, available   the first line that cannot be served
--
-- An entry is 'madeAt <ms> kind <kind> orderId <id> lines <productId> <quantity> …', dated by the clock of Redis. Its
-- words tell what it is, and make it longer than 64 bytes: of shorter ones Redis makes a list that it searches for each
-- id (hash-max-listpack-value).

local NOT_LOADED, RESERVED, INSUFFICIENT = 0, 1, 2

local time = redis.call('TIME')
local head = 'madeAt ' .. time[1] * 1000 + math.floor(time[2] / 1000) .. ' kind reserve orderId '

-- Of the products that were looked at: the units that are left (false where nothing is known), and those of them that
-- this call takes. Each is read once and written once, however many orders want it.
local left, taken = {}, {}
-- The entries that this call makes: id, entry, …
local made = {}

local function leftOf(productId)
  if left[productId] == nil then left[productId] = tonumber(redis.call('HGET', KEYS[1], productId)) or false end
  return left[productId]
end

local function reserve(orderId, lines)
  local missing, short = {}, nil
  for productId, quantity in string.gmatch(lines, '(%d+) (%d+)') do
    local available = leftOf(productId)
    if not available then
      missing[#missing + 1] = productId
    elseif available < tonumber(quantity) then
      short = short or INSUFFICIENT .. ' ' .. productId .. ' ' .. available
    end
  end
  if #missing > 0 then return NOT_LOADED .. ' ' .. table.concat(missing, ' ') end
  if short then return short end

  for productId, quantity in string.gmatch(lines, '(%d+) (%d+)') do
    left[productId] = left[productId] - quantity
    taken[productId] = (taken[productId] or 0) + quantity
  end
  made[#made + 1] = orderId
  made[#made + 1] = head .. orderId .. ' lines ' .. lines
  return RESERVED
end

local orderIds, linesOf = {}, {}
for i = 1, #ARGV do orderIds[i], linesOf[i] = string.match(ARGV[i], '(%S+) (.*)') end

local answers, isPending = {}, {}
for i, entry in ipairs(redis.call('HMGET', KEYS[2], unpack(orderIds))) do
  if entry then isPending[orderIds[i]] = true end
end
for i, orderId in ipairs(orderIds) do
  answers[i] = isPending[orderId] and RESERVED or reserve(orderId, linesOf[i])
  isPending[orderId] = answers[i] == RESERVED
end
if #made > 0 then redis.call('HSET', KEYS[2], unpack(made)) end
for productId, quantity in pairs(taken) do redis.call('HINCRBY', KEYS[1], productId, -quantity) end
return table.concat(answers, '\n')
