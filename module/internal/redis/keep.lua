-- Stores a report, unless there is a newer one, and deletes the mark.
--
-- KEYS  1 the record · 2 the mark of who asks the source
-- ARGV  1 the asking instance · 2 the source · 3 the report · 4 when it was made · 5 how long to keep the record, in ms
local me, source, report, fetched, expiry = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local holder = redis.call('GET', KEYS[2])
if holder == me or holder == 'failed' then redis.call('DEL', KEYS[2]) end
local whole, stored = pcall(cjson.decode, redis.call('HGET', KEYS[1], source) or 'null')
if whole and type(stored) == 'table' and type(stored.fetched) == 'string' and stored.fetched > fetched then return 0 end
redis.call('HSET', KEYS[1], source, report)
if redis.call('PTTL', KEYS[1]) < expiry then redis.call('PEXPIRE', KEYS[1], expiry) end
return 1
