-- Books debts and leases units of many buckets; one integer each, the time at which its burst is
-- whole again in microseconds of this server's clock.
-- KEYS  names of buckets
-- ARGV  four for each: units a second, burst, units used already, units wanted
-- Returns two integers for each: units leased, microseconds until the burst is whole again.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local answers = {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 4
  local unit = 1000000 / tonumber(ARGV[at + 1])
  local burst = tonumber(ARGV[at + 2])
  local whole = math.max(tonumber(redis.call('GET', key) or '0'), now)
  whole = whole + tonumber(ARGV[at + 3]) * unit
  local free = math.floor(burst - (whole - now) / unit + 0.000001)
  local leased = math.max(0, math.min(free, tonumber(ARGV[at + 4])))
  -- Rounded against the taker, and written in full: Lua's own form of numbers drops digits.
  whole = math.ceil(whole + leased * unit)
  if whole > now then
    redis.call('SET', key, string.format('%.0f', whole), 'PX', math.ceil((whole - now) / 1000))
  end
  answers[#answers + 1] = leased
  answers[#answers + 1] = whole - now
end
return answers
