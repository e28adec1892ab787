-- Permits for calls under way: one hash of what each sidecar holds, and until when.
--
-- KEYS  1 the permits
-- ARGV  1 cap
--       2 sidecar its name
--       3 need    permits that calls under way have: held whatever the others hold
--       4 want    permits, at most; 0: gives all back
--       5 hold    us that they are held without news
-- Reply granted (what the sidecar holds now), left (what nobody holds), retry (until the first of the others' holdings
--       ends, if fewer were granted than wanted; 0: none were refused; -1: never), others (what they hold).
--
-- It says what is, not what changes: twice is as good as once, and a lost answer costs nothing.  Who falls silent
-- (a crash) loses its permits by itself.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local cap, sidecar = tonumber(ARGV[1]), ARGV[2]
local need, want, hold = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local others, first, last, over, before = 0, nil, now + hold, {}, nil
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	local held, ends = string.match(all[i + 1], '^(%d+) (%d+)$')
	held, ends = tonumber(held), tonumber(ends)
	if all[i] == sidecar then
		before = held
	elseif not ends or ends <= now then
		over[#over + 1] = all[i]
	else
		others = others + held
		first = math.min(first or ends, ends)
		last = math.max(last, ends)
	end
end

local granted = math.max(need, math.min(want, cap - others), 0)
for i = 1, #over do
	redis.call('HDEL', KEYS[1], over[i])
end
if granted > 0 then
	redis.call('HSET', KEYS[1], sidecar, string.format('%.0f %.0f', granted, now + hold))
	redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil((last - now) / 1000) + 1000))
elseif before then
	redis.call('HDEL', KEYS[1], sidecar)
end

local retry = 0
if granted < want then
	retry = first and first - now or -1
end
return { granted, math.max(cap - others - granted, 0), retry, others }
