-- Shared by the scripts below it. Names and layout (all keys of a call carry one Redis Cluster tag):
--   <bucket>          the counter: requests, or nano-USD spent
--   <bucket>:holds    a hash of live holds: attempt -> '<amount>:<expires>'; `held` = sum of the amounts; `next` =
--                     nothing expires before; `lane` = the attempt in the lane or ''. Gone when nothing is held
--   attempts hash     attempt -> 'o<n>' open: its requests are counted, its first n buckets may hold something;
--                     'v' voided; or the amount it was settled with
-- A hold is at least 1. Numbers here are doubles: money is only compared, added and written with %.0f, never
-- concatenated as a number. Times are Redis's milliseconds.

local HOLD_MS = 15000
local LATE_MS = 3600000      -- a counter outlives its window, so that late settles land, and vanish with it
local ATTEMPT_MS = 660000    -- settled markers live 10 minutes, and one for skew
local LOCK_MS = 10000        -- a rebuild that says nothing for so long has died

-- Local names: a global look-up goes through the sandbox.
local call, tonumber, format, match = redis.call, tonumber, string.format, string.match
local KEYS, ARGV = KEYS, ARGV

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local touched = false

local function text(number)
  return format('%.0f', number)
end

local function expire(key, ends)
  if ends > 0 then call('PEXPIREAT', key, text(ends + LATE_MS)) end
end

-- Keep an attempts hash. Neighbours in a batch mostly share one.
local function touch(attempts)
  if touched ~= attempts then
    touched = attempts
    call('PEXPIRE', attempts, ATTEMPT_MS)
  end
end

local function count(counter, ends)
  if call('INCR', counter) == 1 then expire(counter, ends) end
end

-- `amount` as text; `held` as it was before. The three fields about the whole come first: a small hash is searched
-- from its head.
local function place(holds, attempt, amount, held, takes_lane, ends)
  local expires = text(now + HOLD_MS)
  local sum = text(held + tonumber(amount))
  local hold = amount .. ':' .. expires
  if held == 0 then
    call('HSET', holds, 'held', sum, 'next', expires, 'lane', takes_lane and attempt or '', attempt, hold)
    expire(holds, ends)
  elseif takes_lane then
    call('HSET', holds, 'held', sum, 'lane', attempt, attempt, hold)
  else
    call('HSET', holds, 'held', sum, attempt, hold)
  end
end

local function amount_of(hold)
  return match(hold, '^%d+')
end

-- Drop what has expired. Gives the sum of what is left, and who is in the lane ('': nobody).
local function purge(holds, held, lane)
  local all = call('HGETALL', holds)
  local soonest = math.huge
  for i = 1, #all, 2 do
    local amount, expires = match(all[i + 1], '^(%d+):(%d+)$')
    if expires and tonumber(expires) <= now then
      held = held - tonumber(amount)
      call('HDEL', holds, all[i])
      if lane == all[i] then lane = '' end
    elseif expires and tonumber(expires) < soonest then
      soonest = tonumber(expires)
    end
  end
  if soonest == math.huge then
    call('DEL', holds)
    return 0, ''
  end
  call('HSET', holds, 'held', text(held), 'next', text(soonest), 'lane', lane)
  return held, lane
end

-- The live holds: their sum, and who is in the lane ('': nobody).
local function live(holds)
  local found = call('HMGET', holds, 'held', 'next', 'lane')
  if not found[1] then return 0, '' end
  if now < tonumber(found[2]) then return tonumber(found[1]), found[3] end
  return purge(holds, tonumber(found[1]), found[3])
end

local function release(holds, attempt)
  local found = call('HMGET', holds, 'held', 'lane', attempt)
  if found[3] then
    local held = tonumber(found[1]) - tonumber(amount_of(found[3]))
    if held <= 0 then
      call('DEL', holds)
    else
      call('HDEL', holds, attempt)
      if found[2] == attempt then
        call('HSET', holds, 'held', text(held), 'lane', '')
      else
        call('HSET', holds, 'held', text(held))
      end
    end
  end
end

