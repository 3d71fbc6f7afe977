-- Takes tokens from a bucket (GCRA): the bucket is the time at which it will be full again. All tokens but
-- the last were taken before, and are counted in any case; the last one is refused if the bucket is empty.
--
-- KEYS  1 the bucket
-- ARGV  1 how many tokens it holds · 2 in how many microseconds an empty one fills
--       3 how many tokens are taken · 4 how many microseconds ago the first was
--
-- Answers whether there was a token for the last, and in how many microseconds the bucket is full.
local period, count = tonumber(ARGV[2]), tonumber(ARGV[3])
local each = period / tonumber(ARGV[1])
local time = redis.call('TIME')
-- numbers are floating point here: counting from 2026 leaves enough digits for fractions of a microsecond
local now = (time[1] - 1767225600) * 1000000 + time[2]
-- what others wrote in its place is no bucket; "nan" is larger than no number if it comes second
local full = math.max(now - tonumber(ARGV[4]), tonumber(redis.pcall('GET', KEYS[1])) or 0)
-- a server that has taken over may have another clock: a bucket is never less than empty
full = math.max(math.min(full + (count - 1) * each, now + period), now)
local allowed, after = 1, full + each
-- a token is not refused for the rounding of its fellows
if after - now > period + 0.5 * math.min(1, each) then
	allowed, after = 0, full
end
if allowed == 1 or count > 1 then
	redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil((after - now) / 1000) + 1)
end
return { allowed, math.ceil(after - now) }
