-- Says that a process lives and returns how many do.
-- KEYS  the sorted set of processes, by the last time each was seen
-- ARGV  this process, seconds after which a silent one counts no more
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]) * 2)
return redis.call('ZCARD', KEYS[1])
