-- sales.begin: begins to count the sales of a shard anew. From here on stock.settle logs what it counts, so that the
-- count can be made from Postgres while orders go on: see src/popular/recount.ts.
--
-- KEYS[1] salesLog  list
-- ARGV[1] token
-- ARGV[2] ttlMs  a count that takes longer is lost
--
-- 0 BEGUN

local BEGUN = 0

redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return { BEGUN }
