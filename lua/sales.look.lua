-- sales.look: what has been counted since sales.begin, and what is pending, at one instant.
--
-- KEYS[1] salesLog  list
-- KEYS[2] pending   hash  id → entry, see stock.reserve
-- ARGV[1] token
--
-- 0 LOST     flushed, expired, or begun anew by another
-- 1 LOOKED   counted, entries   counted: a text each, see stock.settle; entries: all pending, id, entry, …

local LOST, LOOKED = 0, 1

if redis.call('LINDEX', KEYS[1], 0) ~= ARGV[1] then return { LOST } end
return { LOOKED, redis.call('LRANGE', KEYS[1], 1, -1), redis.call('HGETALL', KEYS[2]) }
