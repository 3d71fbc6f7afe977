-- Says that the caller could not get an answer: nobody should ask for a while, or, with 0, another may.
--
-- KEYS  1 the mark of who asks the source
-- ARGV  1 the asking instance · 2 how long nobody should ask, in ms
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then
	if holder then redis.call('DEL', KEYS[1]) end
else
	redis.call('SET', KEYS[1], 'failed', 'PX', ARGV[2])
end
return 1
