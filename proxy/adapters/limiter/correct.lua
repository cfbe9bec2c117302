-- Set some counters of one key to what Postgres says, if not one of them has moved since they were read.
-- KEYS  epoch, counters ...   ARGV  epoch's value, then for each counter: value read, new value, window's end
-- Gives {now, 'epoch', value} when the epoch is another, else {now, 1}, or {now, 0} when one has moved.

local epoch = call('GET', KEYS[1])
if epoch ~= ARGV[1] then return {now, 'epoch', epoch or ''} end
for i = 2, #KEYS do
  if (call('GET', KEYS[i]) or '0') ~= ARGV[3 * i - 4] then return {now, 0} end
end
for i = 2, #KEYS do
  local value, ends = ARGV[3 * i - 3], tonumber(ARGV[3 * i - 2])
  if value == '0' then
    call('DEL', KEYS[i])
  else
    call('SET', KEYS[i], value)
    expire(KEYS[i], ends)
  end
end
return {now, 1}
