-- stock.settle: takes entries of one shard out of pending and applies what Postgres decided about each: units back to
-- available, sales counted in the day they were paid on. An entry can be taken out once, so each effect happens once.
-- Safe to run twice: the second run finds no entry, and at worst has products loaded again.
--
-- KEYS[1] available  hash        product id → units
-- KEYS[2] pending    stream
-- KEYS[3] loading    hash        product id → token of its loader
-- KEYS[4..] sales    sorted set  product id → quantity, one key a day concerned
-- ARGV[1] salesKeptMs     how long a day is kept
-- ARGV[2..] entryId, committed, units, sold, day, lines, then productId and quantity a line
--             committed: 1 when Postgres has the effect, 0 when it never will
--             units: 1 gives the units to available, 0 does not, -1 says that available is wrong and is dropped
--             sold: 1 counts the lines as sold, -1 takes them back, 0 neither; day: which of the sales keys, from 1
--
-- 0 SETTLED
-- 1 DROPPED         products were dropped: the next call finds NOT_LOADED

local SETTLED, DROPPED = 0, 1

local outcome = SETTLED
local isLoading = redis.call('EXISTS', KEYS[3]) == 1
local at = 2
while at <= #ARGV do
  local entryId, committed, units = ARGV[at], ARGV[at + 1] == '1', tonumber(ARGV[at + 2])
  local sold, day, lines = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local removed = redis.call('XDEL', KEYS[2], entryId) == 1
  -- Redis lost an entry that Postgres went by (flushed, or an older copy): its count may lack it.
  local isStale = units < 0 or (committed and not removed)

  for line = 1, lines do
    local productId, quantity = ARGV[at + 4 + 2 * line], ARGV[at + 5 + 2 * line]
    if isStale then
      redis.call('HDEL', KEYS[1], productId)
      outcome = DROPPED
    elseif removed and units == 1 and redis.call('HEXISTS', KEYS[1], productId) == 1 then
      redis.call('HINCRBY', KEYS[1], productId, quantity)
    end
    if removed and sold ~= 0 then
      local total = redis.call('ZINCRBY', KEYS[3 + day], sold * quantity, productId)
      if tonumber(total) <= 0 then redis.call('ZREM', KEYS[3 + day], productId) end
      redis.call('PEXPIRE', KEYS[3 + day], ARGV[1], 'NX')
    end
    -- A loader that read Postgres before this point has missed this entry: it starts over.
    if isLoading then redis.call('HDEL', KEYS[3], productId) end
  end
  at = at + 6 + 2 * lines
end
return { outcome }
