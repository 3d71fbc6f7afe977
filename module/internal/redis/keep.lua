-- Stores a report, unless there is a newer one, and deletes the mark. What lies in the future is not stored, and counts as
-- absent: a clock was wrong.
--
-- KEYS  1 the record · 2 the mark of who asks the source
-- ARGV  1 the asking instance · 2 the source · 3 the report · 4 when it was made · 5 how long to keep the record, in ms
--       6 the latest time at which one can have been made · 7 how long one can be
local me, source, report, fetched, expiry, latest = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local holder = redis.call('GET', KEYS[2])
if holder == me or holder == 'failed' then redis.call('DEL', KEYS[2]) end
if fetched > latest then return 0 end
local whole, stored = pcall(cjson.decode, fields(KEYS[1], { source }, tonumber(ARGV[7]))[1] or 'null')
if whole and type(stored) == 'table' and type(stored.fetched) == 'string' and stored.fetched > fetched
	and stored.fetched <= latest then
	return 0
end
redis.call('HSET', KEYS[1], source, report)
if redis.call('PTTL', KEYS[1]) < expiry then redis.call('PEXPIRE', KEYS[1], expiry) end
return 1
