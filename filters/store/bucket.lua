-- A token bucket (GCRA): one string, the time at which the bucket is full again.
--
-- KEYS  1 the bucket
-- ARGV  1 period  microseconds in which `count` tokens come   (whole numbers with no common divisor;
--       2 count                                                one us is `count` units, one token is `period` units)
--       3 burst   tokens
--       4 owed    tokens that were spent already: taken whatever is there; below 0: given back
--       5 least   tokens: fewer than this are of no use
--       6 want    tokens, at most
-- Reply granted, left, retry, reset; in tokens and us.  retry: until as many come as were least wanted beyond the
--       grant; 0: nothing was refused; -1: never.  reset: until the bucket is full.
--
-- Nothing is rounded but the two durations, up.  Numbers become text by %.0f alone: tostring and .. keep 14 digits,
-- and a time has 16.  A denial writes nothing.  What has expired is a full bucket: that loses nothing.
-- Who comes with another rate or burst finds the same share of the bucket filled, and it fills by that from then on.
-- A debt has an end: the bucket itself, what is charged after an outage (as much again) and what is spent on credit
-- (as much again, and a second's worth).  Beyond it is only what a clock that was set back makes, or somebody else.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local period, count, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local owed, least, want = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local fills = math.ceil(burst * period / count)
local most = math.min(3 * burst * period + 1000000 * count, 2 ^ 52)

-- "TIME PARTS FILLS": a part is one unit, and as long as FILLS us the bucket took to fill when it was written
local debt, other = 0, false
local stored = redis.call('GET', KEYS[1])
if stored then
	local at, parts, filled = string.match(stored, '^(%d+) (%d+) (%d+)$')
	at, parts, filled = tonumber(at), tonumber(parts), tonumber(filled)
	if at and at > now and filled ~= fills and filled > 0 then
		debt, other = math.ceil((at - now) / filled * burst * period), true
	elseif at then
		debt = (at - now) * count + math.min(parts, count - 1)
	end
end
local before = math.max(debt, 0)

debt = math.min(before, most)
debt = math.min(math.max(debt + owed * period, 0), most)
local free = math.max(burst - math.ceil(debt / period), 0)
local granted = 0
if want > 0 and free >= least then
	granted = math.min(want, free)
end
debt = debt + granted * period

if debt ~= before or other then
	if debt == 0 then
		redis.call('DEL', KEYS[1])
	else
		local us = math.floor(debt / count)
		local parts = debt - us * count
		local value = string.format('%.0f %.0f %.0f', now + us, parts, fills)
		-- a second more: the server expires by a clock that it reads less often
		redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.ceil(us / 1000) + 1000))
	end
end

local retry = 0
if granted < want then
	local next = granted > 0 and 1 or math.max(least, 1)
	retry = next > burst and -1 or math.ceil(math.max(debt + next * period - burst * period, 0) / count)
end
return { granted, math.max(burst - math.ceil(debt / period), 0), retry, math.ceil(debt / count) }
