-- The copy of a list that instances share, and who fetches the list next.
--
-- KEYS  1 what describes the copy · 2 the lease
-- ARGV  1 who asks · 2 how long a fetch may take, in ms · 3 the age up to which a copy is new enough, in ms
--
-- Answers with the copy's version or false, its age in ms, and what follows: "known" (the copy is new enough), "ask" (the
-- caller is to fetch the list, and has the lease), "wait" (another instance fetches it), or how many ms nobody should.
-- Times are those of this server; a copy that was confirmed in its future, or at no time, is none.
local me, lease, young = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local copy = redis.call('HMGET', KEYS[1], 'version', 'confirmed')
local version, age = copy[1], now - (tonumber(copy[2]) or now + 1)
if not (age >= 0 and age <= now) then version, age = false, 0 end
if version and age < young then return { version, age, 'known' } end
if redis.call('SET', KEYS[2], me, 'NX', 'PX', lease) then return { version, age, 'ask' } end
local holder, left = redis.call('GET', KEYS[2]), redis.call('PTTL', KEYS[2])
if left < 0 then holder = me end -- a lease always ends: this one is not ours
if holder == 'failed' then return { version, age, left } end
if holder == me then
	redis.call('SET', KEYS[2], me, 'PX', lease)
	return { version, age, 'ask' }
end
return { version, age, 'wait' }
