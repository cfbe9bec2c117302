-- Set counters to what Postgres says, while the lock is ours.
-- KEYS  lock, counters ...   ARGV  token, then for each counter: value, window's end
-- Gives {now, 1}, or {now, 0} when the lock was lost.

if call('GET', KEYS[1]) ~= ARGV[1] then return {now, 0} end
call('PEXPIRE', KEYS[1], LOCK_MS)
for i = 2, #KEYS do
  local value, ends = ARGV[2 * i - 2], tonumber(ARGV[2 * i - 1])
  if value == '0' then
    call('DEL', KEYS[i])
  else
    call('SET', KEYS[i], value)
    expire(KEYS[i], ends)
  end
end
return {now, 1}
