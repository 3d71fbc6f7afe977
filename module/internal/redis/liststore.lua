-- Describes the newest copy of a list, whose text has been written, and releases the lease.
--
-- KEYS  1 what describes the copy · 2 the lease · 3 the text · 4 the text of the version before, or again the text
-- ARGV  1 who fetched it · 2 its version · 3 how long it is kept, in ms
--
-- Answers with 0 if the text is gone, as when it was evicted, and with 1 otherwise.
local whole = redis.call('PEXPIRE', KEYS[3], ARGV[3])
if whole == 1 then
	local time = redis.call('TIME')
	local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
	redis.call('HSET', KEYS[1], 'version', ARGV[2], 'confirmed', now)
	redis.call('PEXPIRE', KEYS[1], ARGV[3])
	if KEYS[4] ~= KEYS[3] then redis.call('UNLINK', KEYS[4]) end
elseif redis.call('HGET', KEYS[1], 'version') == ARGV[2] then
	redis.call('DEL', KEYS[1])
end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return whole
