-- Permits for calls under way: one hash of what each sidecar holds, until when, and how many calls wait there.
--
-- KEYS  1 the permits
-- ARGV  1 cap
--       2 sidecar its name
--       3 need    permits that it holds on to: granted whatever the others hold
--       4 want    permits, at most; 0: gives all back
--       5 hold    us that they are held without news
--       6 waits   calls that go on waiting if there are none for them
-- Reply granted (what the sidecar holds now), left (what nobody holds), retry (until the first of the others' holdings
--       ends, if fewer were granted than wanted; 0: none were refused; -1: never), yields (of those granted, how many
--       are to be given back as calls end: others wait, and hold less than an even share).
--
-- It says what is, not what changes: twice is as good as once, and a lost answer costs nothing.  Who falls silent
-- (a crash) loses its permits by itself.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local cap, sidecar = tonumber(ARGV[1]), ARGV[2]
local need, want, hold, waits = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local others, first, last, over, before, rest = 0, nil, now + hold, {}, 0, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	local held, ends, waiting = string.match(all[i + 1], '^(%d+) (%d+) (%d+)$')
	held, ends, waiting = tonumber(held), tonumber(ends), tonumber(waiting)
	if all[i] == sidecar then
		before = held or 0
	elseif not ends or ends <= now then
		over[#over + 1] = all[i]
	else
		others = others + held
		rest[#rest + 1] = { held, waiting }
		last = math.max(last, ends)
		if held > 0 then
			first = math.min(first or ends, ends)
		end
	end
end

-- What those lack who wait and hold less than an even share.  Where there is not one for each (share 0) they take
-- turns: who has just had one is not given the next.
local share, lack = math.floor(cap / (#rest + 1)), 0
for i = 1, #rest do
	lack = lack + math.max(math.min(rest[i][2], math.max(share, 1) - rest[i][1]), 0)
end
local room = cap - others
if share > 0 or before > 0 then
	room = math.min(room, math.max(share, room - lack))
end

local granted = math.max(need, math.min(want, room), 0)
waits = math.max(math.min(waits, want - granted), 0)
for i = 1, #over do
	redis.call('HDEL', KEYS[1], over[i])
end
if granted > 0 or waits > 0 then
	redis.call('HSET', KEYS[1], sidecar, string.format('%.0f %.0f %.0f', granted, now + hold, waits))
	redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((last - now) / 1000) + 1000))
else
	redis.call('HDEL', KEYS[1], sidecar)
end

local left = math.max(cap - others - granted, 0)
local retry = 0
if granted < want then
	retry = first and first - now or -1
end
return { granted, left, retry, math.max(math.min(lack - left, granted - share), 0) }
