-- pending.look: what is pending, and which entries have been so for long. Ages are by the clock of the Redis that dated
-- the entries: of the nodes of a cluster each has its own.
--
-- KEYS[1] pending   hash  field → entry, which begins with 'madeAt <ms>'
-- ARGV[1] minAgeMs  age from which entries are given
-- ARGV[2] limit     the most entries given, the oldest first
--
-- 0 LOOKED  length, nowMs, entries   length counts all that are pending; entries: a list of field and entry each

local LOOKED = 0

local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)

local fields = redis.call('HGETALL', KEYS[1])
local old = {}
for i = 1, #fields, 2 do
  local madeAt = tonumber(string.match(fields[i + 1], '^madeAt (%d+)'))
  if nowMs - madeAt >= tonumber(ARGV[1]) then old[#old + 1] = { fields[i], fields[i + 1], madeAt } end
end
table.sort(old, function(a, b)
  if a[3] ~= b[3] then return a[3] < b[3] end
  return a[1] < b[1]
end)

local entries = {}
for i = 1, math.min(#old, ARGV[2]) do entries[i] = { old[i][1], old[i][2] } end
return { LOOKED, #fields / 2, nowMs, entries }
