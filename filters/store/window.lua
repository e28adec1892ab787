-- Counting in windows, fixed or sliding: one hash of the window's number (w), what was taken in it (c) and in the one
-- before (p).  Windows stand on the Unix epoch, by the server's clock.
--
-- KEYS  1 the counts
-- ARGV  1 period  us
--       2 sliding 1 or 0
--       3 limit   tokens a window
--       4 owed    tokens that were spent already: taken whatever is there; below 0: given back to this window
--       5 least   tokens: fewer than this are of no use
--       6 want    tokens, at most
-- Reply granted, left, retry, reset: as bucket.lua has them.
--
-- Sliding: of what was taken in the window before, the share counts that the last period still covers, rounded up.
-- The window that lies next (the server's clock was set back a little) goes on until it is over; what was counted in
-- one further ahead counts in this one.  A denial writes nothing.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local period, sliding, limit = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[3])
local owed, least, want = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

-- a * b / c, rounded down, and the rest: exact where a product of a double has no room (c below 2^47)
local function share(a, b, c)
	local quotient, rest, digits = 0, 0, {}
	while a > 0 do
		digits[#digits + 1] = a % 32
		a = math.floor(a / 32)
	end
	for i = #digits, 1, -1 do
		local part = rest * 32 + digits[i] * b
		local whole = math.floor(part / c)
		quotient = quotient * 32 + whole
		rest = part - whole * c
	end
	return quotient, rest
end

-- nil: it is no number that was written here
local function number(text)
	local n = text and string.match(text, '^%d+$') and tonumber(text)
	return n and math.min(n, 2 ^ 52)
end

local window = math.floor(now / period)
local fields = redis.call('HMGET', KEYS[1], 'w', 'c', 'p')
local w, c, p = number(fields[1]) or window, number(fields[2]) or 0, number(fields[3]) or 0
if w < window then
	p = w + 1 == window and c or 0
	c = 0
elseif w == window + 1 then
	window = w
end
local moved = w > window
local start = window * period

local carried = 0
if sliding and p > 0 then
	local rest
	carried, rest = share(p, period - math.max(now - start, 0), period)
	if rest > 0 then
		carried = carried + 1
	end
end

local before = c
c = math.max(c + owed, 0)
local free = math.max(limit - c - carried, 0)
local granted = 0
if want > 0 and free >= least then
	granted = math.min(want, free)
end
c = c + granted

if c ~= before or moved then
	redis.call('HSET', KEYS[1], 'w', string.format('%.0f', window), 'c', string.format('%.0f', c),
		'p', string.format('%.0f', p))
	redis.call('PEXPIRE', KEYS[1],
		string.format('%.0f', math.ceil((start + 2 * period - now) / 1000) + 1000))
end

-- of a window, until no more than `room` of what was taken before it counts
local function opens(taken, room)
	if not sliding or taken <= room then
		return 0
	end
	return period - (share(room, period, taken))
end

local retry = 0
if granted < want then
	local cost = granted > 0 and 1 or math.max(least, 1)
	if cost > limit then
		retry = -1
	elseif c + cost <= limit then
		retry = start + opens(p, limit - c - cost) - now
	else
		retry = start + period + opens(c, limit - cost) - now
	end
end
local reset = 0
if c > 0 then
	reset = start + (sliding and 2 or 1) * period - now
elseif sliding and p > 0 then
	reset = start + period - now
end
return { granted, math.max(limit - c - carried, 0), retry, reset }
