-- Keeps a value. KEYS[1]: its key. ARGV: the value, its time to live (ms), then pairs of a tag and its version.
local fields = { 'v', ARGV[1] }
for i = 3, #ARGV, 2 do
  fields[#fields + 1] = ':' .. ARGV[i]
  fields[#fields + 1] = ARGV[i + 1]
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
