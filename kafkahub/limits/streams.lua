-- Tells how many streams a process has open by scope and returns those of all processes.
-- KEYS  one hash a scope: process to "streams:second"
-- ARGV  this process, seconds after which a silent one counts no more, then its count by scope
-- Returns the sum of the other processes for each.
local now = tonumber(redis.call('TIME')[1])
local life = tonumber(ARGV[2])
local sums = {}
for i, key in ipairs(KEYS) do
  local own = tonumber(ARGV[i + 2])
  if own > 0 then
    redis.call('HSET', key, ARGV[1], own .. ':' .. string.format('%.0f', now))
    redis.call('EXPIRE', key, life)
  else
    redis.call('HDEL', key, ARGV[1])
  end
  local sum, all = 0, redis.call('HGETALL', key)
  for j = 1, #all, 2 do
    local count, seen = string.match(all[j + 1], '(%d+):(%d+)')
    if tonumber(seen) < now - life then
      redis.call('HDEL', key, all[j])
    elseif all[j] ~= ARGV[1] then
      sum = sum + tonumber(count)
    end
  end
  sums[i] = sum
end
return sums
