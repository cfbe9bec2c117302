-- Reserve for a batch of attempts of one account; each is all or nothing over all its limits.
-- The decision is `decide` of proxy/core/limits.py.
-- KEYS  epoch, then for each attempt: its attempts hash, then for each limit: counter [, holds: cost only]
-- ARGV  epoch's value, number of attempts, then for each: attempt, worst, least, clamp (-1: none), unbounded (0, 1),
--       first and end millisecond of its windows, number of limits, then for each limit: r or c, amount, window's end
-- Gives {now, 'epoch', value} when the epoch is another, else {now, answer ...}, an answer being
--   {-3} not in its windows   {-4} the attempt is known: voided by an impatient worker
--   {code, index of the denying limit, spent, held, spent, held ...}
--   code 0 backed, 1 clamped, 2 lane, -1 used up, -2 held

local epoch = call('GET', KEYS[1])
if epoch ~= ARGV[1] then return {now, 'epoch', epoch or ''} end

local answers = {now}
local k, a = 2, 3
for answer = 1, tonumber(ARGV[2]) do
  local attempts, attempt = KEYS[k], ARGV[a]
  local worst, least, clamp = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local unbounded = ARGV[a + 4] == '1'
  local is_current = now >= tonumber(ARGV[a + 5]) and now < tonumber(ARGV[a + 6])
  local limits, worst_text = tonumber(ARGV[a + 7]), ARGV[a + 1]
  k, a = k + 1, a + 8

  -- The counter of limit i is counters[i]; of a limit on cost, holds[i] names its holds. ARGV has the rest at a + 3i - 3.
  local counters, holds = {}, {}
  for i = 1, limits do
    counters[i] = KEYS[k]
    if ARGV[a + 3 * i - 3] == 'c' then
      holds[i] = KEYS[k + 1]
      k = k + 2
    else
      holds[i] = false
      k = k + 1
    end
  end

  if not is_current then
    answers[answer + 1] = {-3}
  else
    local counted = call('MGET', unpack(counters))
    local reply, lane, available = {0, 0}, {}, {}
    local room, used_up, used_up_ends, waits = math.huge, 0, -1, 0
    for i = 1, limits do
      local spent, held = tonumber(counted[i]) or 0, 0
      local left = tonumber(ARGV[a + 3 * i - 2]) - spent
      if holds[i] then held, lane[i] = live(holds[i]) end
      reply[2 * i + 1], reply[2 * i + 2] = spent, held
      if (holds[i] and least or 1) > left then
        local ends = tonumber(ARGV[a + 3 * i - 1])
        if ends == 0 then ends = math.huge end
        if ends > used_up_ends then used_up, used_up_ends = i, ends end
      elseif holds[i] then
        local fits = left - held
        available[i] = fits
        if least > fits and waits == 0 then waits = i end
        if fits < room then room = fits end
      end
    end

    local code, index, hold = 0, 0, worst
    if used_up > 0 then
      code, index = -1, used_up
    elseif waits > 0 then
      code, index = -2, waits
    elseif unbounded or worst > room then
      if not unbounded and clamp >= 0 and clamp <= room then
        code, hold = 1, room
      else
        code = 2
        for i = 1, limits do
          if holds[i] and lane[i] ~= '' and index == 0 and (unbounded or worst > available[i]) then code, index = -2, i end
        end
      end
    end

    if code >= 0 and call('HSETNX', attempts, attempt, 'o' .. limits) == 0 then
      answers[answer + 1] = {-4}
    else
      if code >= 0 then
        touch(attempts)
        for i = 1, limits do
          local ends = tonumber(ARGV[a + 3 * i - 1])
          if not holds[i] then
            count(counters[i], ends)
          elseif code == 0 then
            if worst > 0 then place(holds[i], attempt, worst_text, reply[2 * i + 2], false, ends) end
          else
            local amount = hold
            if amount > available[i] then amount = available[i] end
            local takes_lane = code == 2 and (unbounded or worst > available[i])
            place(holds[i], attempt, text(amount), reply[2 * i + 2], takes_lane, ends)
          end
        end
      end
      reply[1], reply[2] = code, index
      answers[answer + 1] = reply
    end
  end
  a = a + 3 * limits
end
return answers
