-- Returns the values of a hash's fields, in their order. One that is missing, or longer than ours can be, is false.
local function fields(key, names, longest)
	local values = {}
	for i = 1, #names do
		values[i] = redis.call('HSTRLEN', key, names[i]) <= longest and redis.call('HGET', key, names[i])
	end
	return values
end
