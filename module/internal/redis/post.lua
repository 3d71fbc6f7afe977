-- Posts notes, each unless a newer one of its name is there, and tells who follows the board.
--
-- A note is an object with a version; of two with the same version the one that is larger as a text holds, so that all
-- instances come to the same end. The revision counts the notes that were taken. It is kept among them, under a name that no
-- note has, to be lost with them, and begins at a number that it has not had before: a board which was lost is not taken for
-- the one that was known.
--
-- Versions are times, in milliseconds: one that is more than a day ahead is of a broken clock, and would hold for ever.
--
-- KEYS  1 the notes
-- ARGV  1 the channel · 2 the name of the revision · 3... name, note
local taken = 0
local time = redis.call('TIME')
local latest = (time[1] + 86400) * 1000
for i = 3, #ARGV, 2 do
	local name, text = ARGV[i], ARGV[i + 1]
	local whole, there = pcall(cjson.decode, redis.call('HGET', KEYS[1], name) or 'null')
	local version = cjson.decode(text).version
	local newer = version <= latest
	if newer and whole and type(there) == 'table' and type(there.version) == 'number' then
		newer = version > there.version or version == there.version and text > redis.call('HGET', KEYS[1], name)
	end
	if newer then
		redis.call('HSET', KEYS[1], name, text)
		if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then
			redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', time[1] * 1000000 + time[2]))
		end
		local revision = redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
		-- who may not publish can still post: the others look at the board now and then
		redis.pcall('PUBLISH', ARGV[1], cjson.encode({ revision = string.format('%.0f', revision), name = name, note = text }))
		taken = taken + 1
	end
end
return taken
