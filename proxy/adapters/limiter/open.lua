-- Open a new epoch and give the lock back; or only give it back.
-- KEYS  lock, epoch   ARGV  token, the epoch's value ('' for none)
-- Gives {now, 1}, or {now, 0} when the lock was lost.

if call('GET', KEYS[1]) ~= ARGV[1] then return {now, 0} end
if ARGV[2] ~= '' then call('SET', KEYS[2], ARGV[2]) end
call('DEL', KEYS[1])
return {now, 1}
