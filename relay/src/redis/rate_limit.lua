-- GCRA. KEYS[1]: the bucket. ARGV: rate, period in ms, burst, cost.
-- Answers: allowed (1 or 0), remaining tokens, ms until full, ms until `cost` tokens are there; ten years of ms at most.
-- Times are microseconds since 2025: small enough that a double keeps fractions of them. Only how far the bucket is from
-- full is reckoned with: beside a bucket that takes ages to fill, a double would lose the time of day.
local rate, period, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = (tonumber(clock[1]) - 1735689600) * 1000000 + tonumber(clock[2])
local token = period * 1000 / rate
local full = token * burst
-- Redis refuses expiries beyond its range, and integers hold no more than 64 bits.
local function ms(time)
  return math.min(math.ceil(time / 1000), 315360000000)
end
-- A bucket whose shape changed is never fuller than full or emptier than empty.
local used = math.min(math.max((tonumber(redis.call('GET', KEYS[1]) or now) or now) - now, 0), full)
local after = used + token * cost
local wait = after - full
-- Forgives rounding: half a microsecond, or what a double can't tell apart.
if wait > math.max(0.5, full * 1e-15) then
  return { 0, math.max(math.floor((full - used) / token + 1e-6), 0), ms(used), ms(wait) }
end
if cost > 0 then
  redis.call('SET', KEYS[1], string.format('%.17g', now + after), 'PX', string.format('%.0f', math.max(ms(after), 1)))
end
return { 1, math.max(math.floor((full - after) / token + 1e-6), 0), ms(after), 0 }
