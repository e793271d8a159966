-- The bucket of `bucket.rs`, for several gateways at once: by the server's clock, and in one step that nothing comes between.
--
-- KEYS[1] the bucket; ARGV[1] the limit, a minute; ARGV[2] the cost; ARGV[3] `take`, if there is room, or `settle`, in any case.
-- Answers whether it was counted, what is used now in parts, and where it was not, how long until there is room, in microseconds.
local PARTS = 60000000
local MOST_MINUTES = 60
local limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2])

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local kept = redis.call('HMGET', KEYS[1], 'used', 'at')
local used, at = tonumber(kept[1]) or 0, tonumber(kept[2]) or now
used = math.max(0, used - math.max(0, now - at) * limit)

-- Numbers as whole ones: what Lua prints by itself is cut after fourteen digits.
local function whole(number)
  return string.format('%.0f', number)
end

local wanted = used + cost * PARTS
if ARGV[3] == 'take' and wanted > limit * PARTS then
  return {0, whole(used), whole(math.ceil((wanted - limit * PARTS) / limit))}
end
used = math.min(math.max(0, wanted), math.max(used, limit * PARTS * MOST_MINUTES))
redis.call('HSET', KEYS[1], 'used', whole(used), 'at', whole(now))
-- An empty bucket is as good as none.
redis.call('PEXPIRE', KEYS[1], math.ceil(used / limit / 1000) + 1000)
return {1, whole(used), '0'}
