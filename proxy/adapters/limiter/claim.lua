-- Take the lock for a rebuild and close the counters: without an epoch no other script counts.
-- KEYS  lock, epoch   ARGV  token, the epoch that was found wanting ('' when there was none)
-- Gives {now, 1}, or {now, 0} when another worker has the lock or has opened a new epoch since.

if (call('GET', KEYS[2]) or '') ~= ARGV[2] then return {now, 0} end
if not call('SET', KEYS[1], ARGV[1], 'NX', 'PX', LOCK_MS) then return {now, 0} end
call('DEL', KEYS[2])
return {now, 1}
