-- Reads a page of a map.
--
-- KEYS  1 the map
-- ARGV  1 the cursor · 2 about how many entries · 3 how long a name can be · 4 how long an entry can be
--
-- Answers with the next cursor, 0 at the end, how many entries are too long, and the names and entries that are not.
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local fields, left_out = {}, 0
for i = 1, #page[2], 2 do
	local name, text = page[2][i], page[2][i + 1]
	if #name <= tonumber(ARGV[3]) and #text <= tonumber(ARGV[4]) then
		fields[#fields + 1] = name
		fields[#fields + 1] = text
	else
		left_out = left_out + 1
	end
end
return { page[1], left_out, fields }
