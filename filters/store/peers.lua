-- Who shares the limits of a namespace: a sorted set of sidecars by until when they count.
--
-- KEYS  1 the set
-- ARGV  1 sidecar its name
--       2 hold    us that it counts without news; 0: it leaves
-- Reply how many there are, how many have said that they leave (counted from anywhere, which may begin anew), two
--       zeros.  That count is a member of the set, behind all times.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local hold, COUNT = tonumber(ARGV[2]), 4503599627370496
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if hold > 0 then
	redis.call('ZADD', KEYS[1], string.format('%.0f', now + hold), ARGV[1])
	redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(hold / 1000) + 1000))
elseif redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
	return { 0, 0, 0, 0 }
elseif redis.call('ZCARD', KEYS[1]) == 1 then
	redis.call('ZREM', KEYS[1], 'left')
	return { 0, 0, 0, 0 }
end
redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', COUNT), 'left')
local left = redis.call('ZADD', KEYS[1], 'INCR', hold > 0 and '0' or '1', 'left')
return { redis.call('ZCARD', KEYS[1]) - 1, tonumber(left) - COUNT, 0, 0 }
