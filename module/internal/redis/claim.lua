-- What is known of a subject, and who asks about it.
--
-- KEYS  1 the record · 2... for each source, the mark of who asks it
-- ARGV  1 the asking instance · 2 how long it may take, in ms · 3 the present time · 4 the latest time at which a report
--       can have been made · 5 the latest until which one can hold · 6 how long one can be · 7... the sources
--
-- Answers, for each source, with its report or false, and what follows: "known" (the report holds), "ask" (the caller is to
-- ask, and has put up its mark), "wait" (another instance asks), or how many ms nobody should ask, after a failure.
local me, lease, now, latest, last = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local sources = {}
for i = 7, #ARGV do sources[#sources + 1] = ARGV[i] end
local reports = fields(KEYS[1], sources, tonumber(ARGV[6]))
local function current(report)
	return type(report) == 'table' and type(report.due) == 'string' and type(report.fetched) == 'string'
		and report.fetched <= latest and report.due > now and report.due <= last
end
local answer = {}
for i = 1, #sources do
	local whole, report = pcall(cjson.decode, reports[i] or 'null')
	local follows = 'known'
	if not (whole and current(report)) then
		local mark = KEYS[i + 1]
		if redis.call('SET', mark, me, 'NX', 'PX', lease) then
			follows = 'ask'
		else
			local holder, left = redis.call('GET', mark), redis.call('PTTL', mark)
			if left < 0 then
				redis.call('SET', mark, me, 'PX', lease)
				follows = 'ask' -- a mark always ends: this one is not ours
			elseif holder == 'failed' then
				follows = left
			elseif holder == me then
				follows = 'ask' -- the answer to an earlier claim was lost
			else
				follows = 'wait'
			end
		end
	end
	answer[2 * i - 1] = reports[i]
	answer[2 * i] = follows
end
return answer
