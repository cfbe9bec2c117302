-- Settle or void a batch of attempts of one account: an upsert by attempt, safe to repeat.
-- KEYS  epoch, then for each attempt: its attempts hash, then for each bucket: counter [, holds: cost only]
-- ARGV  epoch's value, number of attempts, then for each: attempt, its cost or 'v' (void),
--       may its marker have expired (0, 1), number of buckets, then for each bucket: r or c, window's end
-- Gives {now, 'epoch', value} when the epoch is another, else {now, index of a doubtful attempt ...}.
--
-- What an attempt was before decides what is done:
--   open      the hold goes, the cost is added; a void gives the requests back too
--   unknown   (a key without limits, admitted without Redis, or lost with it) requests are counted now
--   settled   the difference is added; a void changes nothing, for what was charged is a fact
--   voided    a void or a cost of 0 changes nothing; a cost is a fact and counts, with its request
--   doubtful  unknown, but so old that its marker may have expired: nothing is done, Postgres must tell

local epoch = call('GET', KEYS[1])
if epoch ~= ARGV[1] then return {now, 'epoch', epoch or ''} end

local answer = {now}
local k, a = 2, 3
for index = 1, tonumber(ARGV[2]) do
  local attempts, attempt, verb, buckets = KEYS[k], ARGV[a], ARGV[a + 1], tonumber(ARGV[a + 3])
  local is_doubtful = ARGV[a + 2] == '1'
  k, a = k + 1, a + 4
  local before = call('HGET', attempts, attempt)
  local held_buckets = before and tonumber(match(before, '^o(%d+)$'))
  local is_open, is_void = held_buckets and true, verb == 'v'
  local adds, is_news = 0, true
  if is_void then
    is_news = is_open or not before
  else
    is_news = before ~= verb and not (before == 'v' and verb == '0')
    adds = tonumber(verb) - (tonumber(before) or 0)
  end
  if is_doubtful and not before then
    is_news = false
    answer[#answer + 1] = index
  end
  local is_request_new = not is_void and (not before or before == 'v')
  for bucket = 1, buckets do
    local is_cost, counter = ARGV[a] == 'c', KEYS[k]
    if is_news then
      local ends = tonumber(ARGV[a + 1])
      local is_kept = ends == 0 or now < ends + LATE_MS
      if is_cost then
        if is_open and bucket <= held_buckets then release(KEYS[k + 1], attempt) end
        if adds ~= 0 and is_kept and call('INCRBY', counter, text(adds)) == adds then expire(counter, ends) end
      elseif is_request_new and is_kept then
        count(counter, ends)
      elseif is_void and is_open and (tonumber(call('GET', counter)) or 0) > 0 then
        call('DECR', counter)
      end
    end
    k, a = k + (is_cost and 2 or 1), a + 2
  end
  if is_news then
    call('HSET', attempts, attempt, verb)
    touch(attempts)
  end
end
return answer
