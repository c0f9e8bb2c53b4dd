-- Looks a value up. KEYS[1]: its key. ARGV: prefix of versions, prefix of announcements, how long a version lives (ms), then
-- pairs of a tag and the version that it gets where it has none.
-- Answers the value or false, ms that it has left, the versions of the tags: an empty one where a unit of work is about
-- to make it old.
-- A value is a hash: field `v` is the value, field `:tag` the version of each of its tags when it was stored.
local versions = {}
for i = 4, #ARGV, 2 do
  local version = ''
  if redis.call('EXISTS', ARGV[2] .. ARGV[i]) == 0 then
    local key = ARGV[1] .. ARGV[i]
    version = redis.call('GET', key)
    if not version then
      version = ARGV[i + 1]
      redis.call('SET', key, version, 'PX', ARGV[3])
    end
  end
  versions[#versions + 1] = version
end
local value = false
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if fields[i] == 'v' then
    value = fields[i + 1]
  elseif redis.call('GET', ARGV[1] .. string.sub(fields[i], 2)) ~= fields[i + 1] then
    redis.call('UNLINK', KEYS[1])
    return { false, 0, versions }
  end
end
return { value, value and math.max(redis.call('PTTL', KEYS[1]), 0) or 0, versions }
