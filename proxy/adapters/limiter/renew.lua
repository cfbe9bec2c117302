-- Keep the holds of a batch of open attempts alive; place them again where Redis lost them or let them expire.
-- No limit is tested: these attempts are under way.
-- KEYS  epoch, then for each attempt: its attempts hash, then for each bucket: counter [, holds: cost only]
-- ARGV  epoch's value, number of attempts, then for each: attempt, number of buckets,
--       then for each bucket: r or c, window's end, amount held (0: none), in the lane (0, 1)
-- Gives {now, 'epoch', value} when the epoch is another, else {now}.

local epoch = call('GET', KEYS[1])
if epoch ~= ARGV[1] then return {now, 'epoch', epoch or ''} end

local k, a = 2, 3
for _ = 1, tonumber(ARGV[2]) do
  local attempts, attempt, buckets = KEYS[k], ARGV[a], tonumber(ARGV[a + 1])
  k, a = k + 1, a + 2
  local before = call('HGET', attempts, attempt)
  local is_open = not before or match(before, '^o')
  if not before then call('HSET', attempts, attempt, 'o' .. buckets) end
  if is_open then touch(attempts) end
  for _ = 1, buckets do
    local is_cost, ends, amount = ARGV[a] == 'c', tonumber(ARGV[a + 1]), ARGV[a + 2]
    local is_current = ends == 0 or now < ends
    if is_open and is_current and is_cost and amount ~= '0' then
      local holds = KEYS[k + 1]
      local held, lane = live(holds)
      local hold = held > 0 and call('HGET', holds, attempt)
      if hold then
        call('HSET', holds, attempt, amount_of(hold) .. ':' .. text(now + HOLD_MS))
      else
        place(holds, attempt, amount, held, ARGV[a + 3] == '1' and lane == '', ends)
      end
    elseif not before and is_current and not is_cost then
      count(KEYS[k], ends)
    end
    k, a = k + (is_cost and 2 or 1), a + 4
  end
end
return {now}
