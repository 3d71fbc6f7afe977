-- Returns what a field of the subjects holds: for each violation its points and count, both in thousandths, the time of the
-- newest in ms, and the half-life in ms. What others wrote there is left out, and so is what lies in the future.
local function decoded(text, now)
	local states = {}
	local whole, there = pcall(cjson.decode, text or 'null')
	if not whole or type(there) ~= 'table' then return states end
	local function number(n) return type(n) == 'number' and n >= 0 and n < 1e15 end
	for name, s in pairs(there) do
		if type(name) == 'string' and type(s) == 'table' and number(s[1]) and number(s[2]) and number(s[3])
			and number(s[4]) and s[4] >= 1000 and s[3] <= now + 300000 then
			states[name] = { s[1], s[2], math.min(s[3], now), s[4] }
		end
	end
	return states
end

local function milliseconds()
	local time = redis.call('TIME')
	return time[1] * 1000 + math.floor(time[2] / 1000)
end
