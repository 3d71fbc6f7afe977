-- Which instance reports an address to a service: one of all, once in a while.
--
-- KEYS  1 the mark of who reports it
-- ARGV  1 the reporting instance · 2 how long nobody else may, in ms
--
-- Answers whether the caller may. It may again while the mark is its own, which begins the time anew.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
	if redis.call('PTTL', KEYS[1]) >= 0 then return 0 end
	-- a mark always ends: this one is not ours
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
