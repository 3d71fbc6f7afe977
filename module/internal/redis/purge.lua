-- Deletes entries that have not changed since they were found to be over.
--
-- KEYS  1 the map
-- ARGV  name, entry ...
for i = 1, #ARGV, 2 do
	if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
return 1
