-- Counts calls to a service in the windows of its quota, for all instances, and keeps its rate.
--
-- The clock that says which window it is, is the caller's; that of the rate is the server's. A window is one field of the
-- account, "start epoch version base since": what was known when its epoch began, and what was counted since. What an
-- instance has spent without us is another, "epoch owed": it says each time all that it owes of the window, and the
-- difference is added, so that an answer which got lost does no harm. An epoch ends when the counts get lost, or when a
-- replica takes over that did not know all: then what the instances remember counts.
--
-- KEYS  1 the account · 2 its rate · 3, where something is given back, what tells that it was: the library may ask twice
-- ARGV  1 how many, less than 0 to give back · 2 the asking instance · 3 the name of an epoch that may begin
--       4 microseconds between calls, 0 for no rate · 5 how many at once · 6 how long to keep the account, in ms
--       7... for each window: its name, start, end, limit, what the instance owes, and, of the answer that it goes by, the
--       epoch, the version, the count, and how much of what it owes was in it
local n, me, fresh = tonumber(ARGV[1]), ARGV[2], ARGV[3]
if n < 0 and not redis.call('SET', KEYS[3], me, 'NX', 'PX', 60000) then n = 0 end
local interval, burst, expiry = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local function text(number) return string.format('%.0f', number) end

local function window(i)
	local w = { name = ARGV[i], limit = tonumber(ARGV[i + 3]) }
	local start, over, owes = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 4])
	local seen, seen_version, known, told = ARGV[i + 5], tonumber(ARGV[i + 6]), tonumber(ARGV[i + 7]), tonumber(ARGV[i + 8])
	local kept = redis.call('HGET', KEYS[1], w.name) or ''
	local began, epoch, version, base, since = string.match(kept, '^(%d+) (%S+) (%d+) (%d+) (%-?%d+)$')
	w.start, w.epoch, w.version = tonumber(began), epoch, tonumber(version)
	w.base, w.since, w.owed = tonumber(base), tonumber(since), 0
	-- one that begins where the caller's ends is that of an instance whose clock is ahead: it goes on
	w.ahead = w.start == over
	if n < 0 and w.start and w.start ~= start and not w.ahead then
		-- what is given back too late takes nothing from the window that has begun
		return { left = { start, seen, seen_version, known, told } }
	end
	if w.start ~= start and not w.ahead then
		w.start, w.epoch, w.version, w.base, w.since, w.changed = start, fresh, 0, 0, 0, true
		-- what was owed of the window before is over; instances come and go, and would leave it for ever
		for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
			if string.sub(field, 1, #w.name + 6) == 'owed:' .. w.name .. ':' then redis.call('HDEL', KEYS[1], field) end
		end
	end
	if not w.ahead and w.epoch == seen and seen_version > w.version then
		w.epoch, w.base, w.since, w.changed = fresh, w.base + w.since, 0, true
	end
	local debt = 'owed:' .. w.name .. ':' .. me
	local of, owed = string.match(redis.call('HGET', KEYS[1], debt) or '', '^(%S+) (%d+)$')
	if of == w.epoch then w.owed = tonumber(owed) end
	if not w.ahead then
		local before = w.owed
		if w.epoch ~= seen then
			if known > w.base then w.base, w.changed = known, true end
			w.owed = math.max(w.owed, told)
		end
		if owes > w.owed then
			w.since, w.owed, w.changed = w.since + owes - w.owed, owes, true
		end
		if w.owed ~= before then
			w.changed = true
			redis.call('HSET', KEYS[1], debt, w.epoch .. ' ' .. text(w.owed))
		end
	end
	return w
end

local windows, granted = {}, 1
for i = 7, #ARGV, 9 do
	local w = window(i)
	if n > 0 and w.base + w.since + n > w.limit then granted = 0 end
	windows[#windows + 1] = w
end

local retry = 0
if granted == 1 and n > 0 and interval > 0 then
	local time = redis.call('TIME')
	local now = time[1] * 1000000 + time[2]
	-- a server that has taken over may have another clock
	local due = math.min(math.max(tonumber(redis.call('GET', KEYS[2]) or now), now), now + burst * interval)
	local early = due + (n - burst) * interval - now
	if early > 0 then
		granted, retry = 0, math.ceil(early)
	else
		due = due + n * interval
		redis.call('SET', KEYS[2], text(due), 'PX', math.ceil((due - now) / 1000) + 1)
	end
end

local answer = { granted, retry }
for _, w in ipairs(windows) do
	if w.left then
		w.changed = false
	elseif n > 0 and granted == 1 then
		w.since, w.changed = w.since + n, true
	elseif n < 0 and not w.ahead then
		w.since, w.changed = math.max(w.since + n, -w.base), true
	end
	if w.changed then
		w.version = w.version + 1
		redis.call('HSET', KEYS[1], w.name,
			text(w.start) .. ' ' .. w.epoch .. ' ' .. text(w.version) .. ' ' .. text(w.base) .. ' ' .. text(w.since))
	end
	answer[#answer + 1] = w.left or { w.start, w.epoch, w.version, w.base + w.since, w.owed }
end
if redis.call('PTTL', KEYS[1]) < expiry then redis.call('PEXPIRE', KEYS[1], expiry) end
return answer
