-- A unit of work is about to commit what makes values with these tags old. From now on until it is done, or its time is
-- over, no value is found or kept that carries one of them.
-- ARGV: prefix of versions, prefix of announcements, the unit's name, how long at most (ms), then the tags.
-- An announcement is a member of a sorted set, by the time when it ends.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local most = tonumber(ARGV[4])
for i = 5, #ARGV do
  local key = ARGV[2] .. ARGV[i]
  redis.call('UNLINK', ARGV[1] .. ARGV[i])
  -- Those of units that died. One that ends later than a new one can was made by a clock that was ahead.
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', key, now + most + 1, '+inf')
  redis.call('ZADD', key, now + most, ARGV[3])
  redis.call('PEXPIRE', key, most)
end
