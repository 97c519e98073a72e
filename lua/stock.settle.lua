-- stock.settle: takes entries of one shard out of pending and applies what Postgres decided about each: units back to
-- available, sales counted in the day they were paid on. An entry can be taken out once, so each effect happens once.
-- Safe to run twice: the second run finds no entry, and at worst has products loaded again.
--
-- KEYS[1] available  hash        product id → units
-- KEYS[2] pending    hash        id → entry that is not settled, see stock.reserve
-- KEYS[3] loading    hash        product id → token of its loading
-- KEYS[4] counted    hash        days whose sales are complete: day → 1
-- KEYS[5] salesLog   list        there while sales are being counted anew: what was counted meanwhile
-- KEYS[6..] sales    sorted set  product id → quantity, one key a day concerned
-- ARGV[1] salesKeptMs     how long a day is kept
-- ARGV[2] days            how many days are concerned; their names follow (yyyymmdd), in the order of the keys
-- ARGV[3..] settlement    '<id> <committed> <units> <sold> <day> <productId> <quantity> …', one an entry
--             committed: 1 when Postgres has the effect, 0 when it never will
--             units: 1 gives the units to available, 0 does not, -1 says that available is wrong and is dropped
--             sold: 1 counts the lines as sold, -1 takes them back, 0 neither; day: which of the days, from 1
--
-- 0 SETTLED
-- 1 DROPPED         products were dropped: the next call finds NOT_LOADED

local SETTLED, DROPPED = 0, 1

local outcome = SETTLED
-- What this call counts as sold, by day and product: each is written once, however many orders have it.
local sums = {}
local isLoading = redis.call('EXISTS', KEYS[3]) == 1
local isRecounting = redis.call('EXISTS', KEYS[5]) == 1

local first = 3 + ARGV[2]
local ids, pending = {}, {}
for i = first, #ARGV do ids[#ids + 1] = string.match(ARGV[i], '%S+') end
for i, entry in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do pending[ids[i]] = entry end
redis.call('HDEL', KEYS[2], unpack(ids))

for i, id in ipairs(ids) do
  local entry = pending[id]
  pending[id] = false
  local committed, units, sold, day, lines = string.match(ARGV[first + i - 1], ' (%d) (%S+) (%S+) (%d+) (.*)')
  committed, units, sold, day = committed == '1', tonumber(units), tonumber(sold), tonumber(day)
  local logged
  if isRecounting and sold ~= 0 and entry then
    local kind, orderId = string.match(entry, 'kind (%S+) orderId (%S+)')
    logged = { kind, id, orderId, ARGV[2 + day] }
  end
  -- Redis lost an entry that Postgres went by (flushed, or an older copy): its count may lack it.
  local isLost = committed and not entry
  local isStale = units < 0 or isLost
  if isLost and sold ~= 0 then
    redis.call('HDEL', KEYS[4], ARGV[2 + day])
    -- A count that is under way may have looked at Postgres before this sale was there: it is lost, and begins again.
    redis.call('DEL', KEYS[5])
    isRecounting = false
  end

  for productId, quantity in string.gmatch(lines, '(%d+) (%d+)') do
    if isStale then
      redis.call('HDEL', KEYS[1], productId)
      outcome = DROPPED
    elseif entry and units == 1 and redis.call('HEXISTS', KEYS[1], productId) == 1 then
      redis.call('HINCRBY', KEYS[1], productId, quantity)
    end
    if entry and sold ~= 0 then
      sums[day] = sums[day] or {}
      sums[day][productId] = (sums[day][productId] or 0) + sold * quantity
      if logged then
        logged[#logged + 1] = productId
        logged[#logged + 1] = sold * quantity
      end
    end
    -- A loader that read Postgres before this point has missed this entry: it starts over.
    if isLoading then redis.call('HDEL', KEYS[3], productId) end
  end
  -- '<kind> <id> <orderId> <day>', then product and quantity a line
  if logged then redis.call('RPUSH', KEYS[5], table.concat(logged, ' ')) end
end
for day, products in pairs(sums) do
  for productId, quantity in pairs(products) do
    local total = redis.call('ZINCRBY', KEYS[5 + day], quantity, productId)
    -- Below zero it stays: a cancellation can be settled before its order, whose sale then evens it out.
    if tonumber(total) == 0 then redis.call('ZREM', KEYS[5 + day], productId) end
  end
  redis.call('PEXPIRE', KEYS[5 + day], ARGV[1], 'NX')
end
return { outcome }
