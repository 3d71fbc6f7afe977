-- Posts entries, each unless a newer one of its name is there, and sends a message to all who follow the map.
--
-- An entry is an object with a version; of two with the same version the one whose value is larger, compared by byte, is
-- newer, as in package replica. The revision counts the entries that were taken. It is stored among them, under a name that
-- no entry has, to be lost with them, and begins at a number that it has not had before: a map which was lost is not taken
-- for the one that was known.
--
-- Versions are times, in milliseconds: one that is more than a day ahead is of a broken clock, and would hold for ever.
--
-- KEYS  1 the map
-- ARGV  1 the channel · 2 the name of the revision · 3 how long an entry can be · 4... name, entry
local taken = 0
local time = redis.call('TIME')
local latest = (time[1] + 86400) * 1000

-- the comparison of texts in Lua depends on the language that the server is set to
local function larger(a, b)
	for i = 1, math.min(#a, #b) do
		local x, y = string.byte(a, i), string.byte(b, i)
		if x ~= y then return x > y end
	end
	return #a > #b
end

local function value(text) return string.match(text, '"value":(.*)}$') or '' end

local function newer(text, old)
	local version = cjson.decode(text).version
	if version > latest then return false end
	if not old or #old > tonumber(ARGV[3]) then return true end
	local whole, there = pcall(cjson.decode, old)
	if not whole or type(there) ~= 'table' or type(there.version) ~= 'number' or there.version > latest then return true end
	return version > there.version or version == there.version and larger(value(text), value(old))
end

for i = 4, #ARGV, 2 do
	local name, text = ARGV[i], ARGV[i + 1]
	if newer(text, redis.call('HGET', KEYS[1], name)) then
		redis.call('HSET', KEYS[1], name, text)
		if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 0 then
			redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', time[1] * 1000000 + time[2]))
		end
		local revision = redis.call('HINCRBY', KEYS[1], ARGV[2], 1)
		-- who may not publish can still post: the others read the revision now and then
		redis.pcall('PUBLISH', ARGV[1], cjson.encode({ revision = string.format('%.0f', revision), name = name, note = text }))
		taken = taken + 1
	end
end
return taken
