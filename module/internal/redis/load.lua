-- What is known of a subject.
--
-- KEYS  1 the record
-- ARGV  1 how long a report can be · 2... the sources
--
-- Answers with the report of each source, or false.
local sources = {}
for i = 2, #ARGV do sources[#sources + 1] = ARGV[i] end
return fields(KEYS[1], sources, tonumber(ARGV[1]))
