-- pending.look: what waits in a pending stream, and which entries have waited for long. Ages are by the clock of the
-- Redis that made the ids: of the nodes of a cluster each has its own.
--
-- KEYS[1] pending   stream
-- ARGV[1] minAgeMs  age from which entries are given
-- ARGV[2] limit     the most entries given, the oldest first
--
-- 0 LOOKED  length, nowMs, entries   length counts all that wait

local LOOKED = 0

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local untilMs = string.format('%.0f', math.max(0, nowMs - ARGV[1]))
return {
  LOOKED,
  redis.call('XLEN', KEYS[1]),
  nowMs,
  redis.call('XRANGE', KEYS[1], '-', untilMs, 'COUNT', ARGV[2]),
}
