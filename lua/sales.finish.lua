-- sales.finish: stores one day's sales as counted from Postgres, adds what was settled since the look, and marks the day
-- complete. With the last day the count is over, and nothing is logged any more.
--
-- KEYS[1] salesLog  list
-- KEYS[2] counted   hash        day → 1
-- KEYS[3] sales     sorted set  of the day
-- ARGV[1] token
-- ARGV[2] day          yyyymmdd
-- ARGV[3] looked       how much of the log the count includes
-- ARGV[4] salesKeptMs
-- ARGV[5] isLast       1 when no other day of this count follows
-- ARGV[6] sales        '<productId> <quantity> …' in one text: of any number of products
--
-- 0 LOST     flushed, expired, or begun anew by another
-- 1 COUNTED

local LOST, COUNTED = 0, 1

if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[1] then return { LOST } end

redis.call('DEL', KEYS[3])
for productId, quantity in string.gmatch(ARGV[6], '(%S+) (%S+)') do redis.call('ZADD', KEYS[3], quantity, productId) end
for _, text in ipairs(redis.call('LRANGE', KEYS[1], 1 + ARGV[3], -1)) do
  local words = {}
  for word in string.gmatch(text, '%S+') do words[#words + 1] = word end
  for i = 5, #words, 2 do
    if words[4] == ARGV[2] then redis.call('ZINCRBY', KEYS[3], words[i + 1], words[i]) end
  end
end
-- What is below zero stays, as in stock.settle: a sale that is still to be settled evens it out.
redis.call('ZREMRANGEBYSCORE', KEYS[3], 0, 0)
redis.call('PEXPIRE', KEYS[3], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], 1)
redis.call('PEXPIRE', KEYS[2], ARGV[4])
if ARGV[5] == '1' then redis.call('DEL', KEYS[1]) end
return { COUNTED }
