-- A budget of a long window that is settled exactly once: one hash of the window's number (w), what is used (u), a
-- name for this very count (g), and for each sidecar its last settlement ("s:" and its name: number and grant).
--
-- KEYS  1 the budget
-- ARGV  1 length  us of a window
--       2 offset  us that windows begin before multiples of the length (a time zone)
--       3 limit   tokens a window
--       4 sidecar its name, and 5 seq, the number of this settlement: the same for one that is sent again
--       6 delta   tokens that were spent and not charged; below 0: charged and not spent
--       7 least   tokens: fewer than this are of no use
--       8 want    tokens, at most
--       9 window  that delta belongs to, and 10 count, its name; empty: not known
--      11 own     what the sidecar was charged in that window so far, without delta
-- Reply granted, left, retry, reset (as bucket.lua has them), window, count's name, used.
--
-- A settlement that was applied is answered as then and changes nothing.  One that names the window at hand but
-- another count tells that data was lost: what the sidecar knows it was charged is charged again, once.  Of a window
-- that is over, delta is forgotten.  A denial that settles nothing writes nothing.  The window that lies next (the server's
-- clock was set back a little) goes on until it is over; what was used in one further ahead was used in this one.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local length, offset, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local sidecar, seq, delta = 's:' .. ARGV[4], ARGV[5], tonumber(ARGV[6])
local least, want, own = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[11])

-- nil: it is no number that was written here
local function number(text)
	local n = text and string.match(text, '^%d+$') and tonumber(text)
	return n and math.min(n, 2 ^ 52)
end

local window = math.floor((now + offset) / length)
local fields = redis.call('HMGET', KEYS[1], 'w', 'u', 'g', sidecar)
local w, used, count = number(fields[1]), number(fields[2]) or 0, fields[3]
local last_seq, last_grant
if fields[4] then
	last_seq, last_grant = string.match(fields[4], '^(%d+) (%d+)$')
end
local fresh = not w or w < window
if fresh then
	used, count, last_seq = 0, nil, nil
elseif w == window + 1 then
	window = w
end
local moved = not fresh and w > window
if not count or #count > 40 then
	count = ARGV[4] .. ':' .. seq
end

local granted = 0
local function answer()
	local left, retry = math.max(limit - used, 0), 0
	local ends = (window + 1) * length - offset - now
	if granted < want then
		retry = (granted > 0 and 1 or math.max(least, 1)) > limit and -1 or ends
	end
	return { granted, left, retry, used > 0 and ends or 0, window, count, used }
end

if last_seq == seq then
	granted = tonumber(last_grant)
	return answer()
end

local own_window = tonumber(ARGV[9])
local before = used
if own_window and own_window < window then
	delta = 0
elseif own_window == window and ARGV[10] ~= '' and ARGV[10] ~= count then
	used = used + own
end
used = math.max(used + delta, 0)
local free = math.max(limit - used, 0)
if want > 0 and free >= least then
	granted = math.min(want, free)
end
used = used + granted

if used ~= before or delta ~= 0 or moved then
	if fresh then
		redis.call('DEL', KEYS[1])
	end
	redis.call('HSET', KEYS[1], 'w', string.format('%.0f', window), 'u', string.format('%.0f', used), 'g', count,
		sidecar, seq .. string.format(' %.0f', granted))
	redis.call('PEXPIRE', KEYS[1],
		string.format('%.0f', math.ceil(((window + 2) * length - offset - now) / 1000) + 1000))
elseif fresh then
	count = '' -- nothing was written: it has no name yet
end
return answer()
