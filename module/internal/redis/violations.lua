-- Adds what an instance has counted of violations, and tells all instances what they amount to now.
--
-- Points and counts decay by half in a half-life, by this server's clock. A batch that comes again is not added again.
-- Subjects end when they are worth nothing any more. If there are too many, those that would end first do.
--
-- KEYS  1 the subjects · 2 the subjects by the revision of their last change · 3 the subjects by their end, in ms
--       4 the number of the sender's last batch
-- ARGV  1 the channel · 2 the number of the batch · 3 for how long it is remembered, in ms · 4 how many subjects at most
--       5 how many violations of one subject at most · 6 how long a field can be
--       7... for each subject and violation: subject, name, half-life in ms, how many are free, how many points at most
--       · what the sender knew before: points, count, age in ms · what is added: how many, points, count, age in ms
--
-- Answers with the message.
local now, number, longest = milliseconds(), tonumber(ARGV[2]), tonumber(ARGV[6])
local again = (tonumber(redis.pcall('GET', KEYS[4])) or 0) >= number

local function left(age, half) return age > 0 and 2 ^ (-age / half) or 1 end
local function rounded(n) return math.floor(n + 0.5) end

-- the state of a violation after what is added from argument i on
local function added(s, i)
	local function arg(n) return tonumber(ARGV[i + n]) end
	local half, free, most = arg(2), arg(3), arg(4)
	local newest, acts = now - arg(11), arg(8)
	local known = (arg(5) > 0 or arg(6) > 0) and now - arg(7) or newest
	s = s or { 0, 0, 0 }
	local last = math.max(s[3], known, newest)
	-- what the sender knew is less, unless it was lost here
	local points = math.max(s[1] * left(last - s[3], half), arg(5) * left(last - known, half))
	local count = math.max(s[2] * left(last - s[3], half), arg(6) * left(last - known, half))
	if not again then
		local worth = left(last - newest, half)
		count = count + arg(10) * worth
		local costing = math.max(0, math.min(acts, rounded(count / 1000) - free))
		points = points + arg(9) * worth * costing / acts
	end
	return { rounded(math.min(points, most)), rounded(math.min(count, 1e6)), last, half }
end

-- when a state is worth less than a hundredth of a point or of a violation
local function over(s) return s[3] + s[4] * math.log(math.max(s[1], s[2], 10) / 10) / math.log(2) end

local function drop_weakest(states, but)
	local weakest, least
	for name, s in pairs(states) do
		local worth = (s[1] + s[2] / 1e7) * left(now - s[3], s[4])
		if name ~= but and (not least or worth < least) then weakest, least = name, worth end
	end
	if weakest then states[weakest] = nil end
	return weakest
end

local function size(states)
	local n = 0
	for _ in pairs(states) do n = n + 1 end
	return n
end

local function remove(subjects)
	for _, subject in ipairs(subjects) do
		redis.call('HDEL', KEYS[1], subject)
		redis.call('ZREM', KEYS[2], subject)
		redis.call('ZREM', KEYS[3], subject)
	end
end

local revision = redis.call('HGET', KEYS[1], '#')
if not revision or not string.match(revision, '^%d+$') or #revision > 16 or tonumber(revision) > 9e15 then
	-- numbers above that are not exact; it begins at a number that it has not had before: subjects which were lost are not taken for those that were known
	redis.call('HSET', KEYS[1], '#', string.format('%.0f', now * 1000))
end
revision = string.format('%.0f', redis.call('HINCRBY', KEYS[1], '#', 1))

-- a key that holds something else fails here, before the batch counts as added
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[3])

local states, keep = {}, 0
for i = 7, #ARGV, 12 do
	local subject, name = ARGV[i], ARGV[i + 1]
	local all = decoded(fields(KEYS[1], { subject }, longest)[1], now)
	all[name] = added(all[name], i)
	while size(all) > tonumber(ARGV[5]) or #cjson.encode(all) > longest do
		if not drop_weakest(all, name) then break end
	end
	local last = 0
	for _, s in pairs(all) do last = math.max(last, over(s)) end
	if last > now then
		local s = all[name]
		redis.call('HSET', KEYS[1], subject, cjson.encode(all))
		redis.call('ZADD', KEYS[2], revision, subject)
		redis.call('ZADD', KEYS[3], string.format('%.0f', last), subject)
		states[#states + 1] = { subject, name, s[1], s[2], now - s[3], s[4] }
		keep = math.max(keep, last - now)
	end
end

remove(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 200))
local surplus = redis.call('ZCARD', KEYS[3]) - tonumber(ARGV[4])
if surplus > 0 then remove(redis.call('ZRANGE', KEYS[3], 0, math.min(surplus, 200) - 1)) end
for i = 1, 3 do
	if redis.call('PTTL', KEYS[i]) < keep then redis.call('PEXPIRE', KEYS[i], math.ceil(keep)) end
end

local message = '{"revision":"' .. revision .. '","states":' .. (#states > 0 and cjson.encode(states) or '[]') .. '}'
-- who may not publish can still add: the others read the revision now and then
redis.pcall('PUBLISH', ARGV[1], message)
return message
