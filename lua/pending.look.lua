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

local minAgeMs, limit = tonumber(ARGV[1]), tonumber(ARGV[2])

-- The oldest so far, in their order: to sort all of many thousands would hold up Redis for longer than to read them.
local oldest = {}

local function isBefore(madeAt, field, other)
  if madeAt ~= other.madeAt then return madeAt < other.madeAt end
  return field < other.field
end

local function note(madeAt, field, entry)
  if #oldest == limit then
    if not isBefore(madeAt, field, oldest[limit]) then return end
    oldest[limit] = nil
  end
  local low, high = 1, #oldest + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if isBefore(madeAt, field, oldest[middle]) then high = middle else low = middle + 1 end
  end
  table.insert(oldest, low, { madeAt = madeAt, field = field, entry = entry })
end

local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  local madeAt = tonumber(string.match(fields[i + 1], '^madeAt (%d+)'))
  if nowMs - madeAt >= minAgeMs then note(madeAt, fields[i], fields[i + 1]) end
end

local entries = {}
for i, each in ipairs(oldest) do entries[i] = { each.field, each.entry } end
return { LOOKED, #fields / 2, nowMs, entries }
