-- Reads which subjects have changed since a revision.
--
-- KEYS  1 the subjects · 2 the subjects by the revision of their last change
-- ARGV  1 the revision · 2 how many subjects at most · 3 how long a field can be
--
-- Answers with a message as violations.lua sends it, whose revision is where to go on, and whether there are more.
local now, since, most = milliseconds(), ARGV[1], tonumber(ARGV[2])
local revision = redis.call('HGET', KEYS[1], '#') or '0'
-- a lower revision than the one that is known is that of subjects which were lost and began anew
if tonumber(since) > (tonumber(revision) or 0) then since = '0' end
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, most)
local states = {}
for i = 1, #found, 2 do
	for name, s in pairs(decoded(fields(KEYS[1], { found[i] }, tonumber(ARGV[3]))[1], now)) do
		states[#states + 1] = { found[i], name, s[1], s[2], now - s[3], s[4] }
	end
end
local more = 0
if #found == 2 * most then
	-- others may have changed by the same revision as the last one: it is read again, unless all did
	local first, last = tonumber(found[2]), tonumber(found[#found])
	more, revision = 1, string.format('%.0f', first < last and last - 1 or last)
end
return { '{"revision":"' .. revision .. '","states":' .. (#states > 0 and cjson.encode(states) or '[]') .. '}', more }
