-- Takes a token from a bucket (GCRA): the bucket is the time at which it will be full again.
--
-- KEYS  1 the bucket
-- ARGV  1 how many tokens it holds · 2 in how many microseconds an empty one fills
--
-- Answers whether there was a token, and in how many microseconds the bucket is full.
local events, period = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
-- numbers are floating point here: counting from 2026 leaves enough digits for fractions of a microsecond
local now = (time[1] - 1767225600) * 1000000 + time[2]
-- a server that has taken over may have another clock: a bucket is never fuller than empty
local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now), now), now + period)
local after = full + period / events
-- a token is not refused for the rounding of its fellows
if after - now > period + 0.5 * math.min(1, period / events) then
	return { 0, math.ceil(full - now) }
end
redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil((after - now) / 1000) + 1)
return { 1, math.ceil(after - now) }
