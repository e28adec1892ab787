-- Who shares the limits of a namespace: a sorted set of sidecars by until when they count.
--
-- KEYS  1 the set
-- ARGV  1 sidecar its name
--       2 hold    us that it counts without news; 0: it leaves
-- Reply how many there are, then three zeros.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000000 + tonumber(now[2])

local hold = tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if hold > 0 then
	redis.call('ZADD', KEYS[1], string.format('%.0f', now + hold), ARGV[1])
	redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(hold / 1000) + 1000))
else
	redis.call('ZREM', KEYS[1], ARGV[1])
end
return { redis.call('ZCARD', KEYS[1]), 0, 0, 0 }
