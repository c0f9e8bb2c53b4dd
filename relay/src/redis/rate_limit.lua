-- GCRA. KEYS[1]: the bucket. ARGV: rate, period in ms, burst, cost.
-- Answers: allowed (1 or 0), remaining tokens, ms until full, ms until `cost` tokens are there.
-- Times are microseconds since 2025: small enough that a double keeps fractions of them.
local rate, period, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1735689600) * 1000000 + tonumber(clock[2])
local token = period * 1000 / rate
local full = token * burst
-- A bucket whose shape changed is never fuller than empty or emptier than its new size.
local tat = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now) or now, now), now + full)
local after = tat + token * cost
-- Half a microsecond forgives rounding.
local wait = after - full - now
if wait > 0.5 then
  local left = math.max(math.floor((now + full - tat) / token + 1e-6), 0)
  return { 0, left, math.ceil((tat - now) / 1000), math.ceil(wait / 1000) }
end
if cost > 0 then
  -- Ten years at most, as Redis refuses expiries beyond its range.
  local ttl = math.min(math.ceil((after - now) / 1000), 315360000000)
  redis.call('SET', KEYS[1], string.format('%.17g', after), 'PX', string.format('%.0f', math.max(ttl, 1)))
end
local left = math.max(math.floor((now + full - after) / token + 1e-6), 0)
return { 1, left, math.ceil((after - now) / 1000), 0 }
