"""What Redis does in one piece: each script is run whole, with nothing between its lines, or not at all.

Those that write begin with `#!lua` alone, so that a server that may not write now (out of memory, a replica, a broken
disk) refuses the whole script before its first line (https://redis.io/docs/latest/develop/programmability/lua-api,
"Script flags"). All keys carry one hash tag, so in a cluster they lie on one node.

Kept are, under `{TAG}:`
  schema          the number of the last of `MIGRATIONS` that was run
  head            "REVISION HASH" of the last entry
  trail           hash: revision -> entry, as one line of JSON
  newest          hash: KIND/NAME -> the document's newest entry
  versions:K/N    list: the revisions of a document's versions, the first of which is version 1
  bucket:NAME     the time at which it will be full; expires then
  held:NAME       hash: replica -> "COUNT UNTIL"; expires with its last
  lease:NAME      hash: owner, token, until; never expires, since tokens only grow
  note:NAME       hash: version, text
  members         hash: replica -> "UNTIL SEEN_AT DOCUMENT"
"""

MIGRATIONS = ("-- the first schema has nothing to bring along",)
"""What brings schema n to n + 1, in Lua: run once, by whoever comes first."""

MIGRATE = """#!lua
-- KEYS: schema. ARGV: the schema that is brought up by one
if (redis.call('GET', KEYS[1]) or '0') == ARGV[1] then
  {}
  redis.call('SET', KEYS[1], ARGV[1] + 1)
end
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1e6
local function number(value) return string.format('%.17g', value) end
"""

APPEND = """#!lua
-- KEYS: schema, head, trail, newest, then a list of revisions for each document
-- ARGV: schema, head before, head after, channel, then of each entry: revision, text, document, version, place in KEYS
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'schema'} end
local head = redis.call('GET', KEYS[2]) or '0 ' .. string.rep('0', 64)
if head ~= ARGV[2] then
  local revision, text = ARGV[#ARGV - 4], ARGV[#ARGV - 3]
  if tonumber(string.match(head, '^%d+')) < tonumber(revision) or redis.call('HGET', KEYS[3], revision) ~= text then
    return {'moved', head}
  end
  redis.call('SET', KEYS[2], head)  -- so that WAIT on this connection waits for what was written on another
  return {'done'}
end
local last = {}
for i = 5, #ARGV, 5 do
  local versions = KEYS[tonumber(ARGV[i + 4])]
  local version = last[versions] or redis.call('LLEN', versions)
  if tonumber(ARGV[i + 3]) ~= version + 1 then return {'version', ARGV[i], tostring(version)} end
  last[versions] = version + 1
end
for i = 5, #ARGV, 5 do
  redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  redis.call('HSET', KEYS[4], ARGV[i + 2], ARGV[i + 1])
  redis.call('RPUSH', KEYS[tonumber(ARGV[i + 4])], ARGV[i])
end
redis.call('SET', KEYS[2], ARGV[3])
redis.pcall('PUBLISH', ARGV[4], ARGV[#ARGV - 4])  -- who may not publish has written all the same
return {'done'}
"""

CURRENT = """#!lua flags=no-writes
-- KEYS: head, newest
return {redis.call('GET', KEYS[1]), redis.call('HVALS', KEYS[2])}
"""

SHARE = f"""#!lua
-- KEYS: of each bucket, then of each thing that is held
-- ARGV: replica, seconds to remember what it holds, number of buckets, then of each bucket: capacity, per second, used;
--   then of each thing that is held: how much
{_NOW}
local replica, ttl, buckets = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local levels, others = {{}}, {{}}
for i = 1, buckets do
  local capacity, per_s, used = tonumber(ARGV[3 * i + 1]), tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  local full_at = math.max(tonumber(redis.call('GET', KEYS[i]) or 0), now) + used / per_s
  if used ~= 0 and full_at > now then
    redis.call('SET', KEYS[i], number(full_at), 'PX', string.format('%d', math.ceil((full_at - now) * 1000)))
  elseif used ~= 0 then
    redis.call('DEL', KEYS[i])
  end
  levels[i] = number(capacity - math.max(full_at - now, 0) * per_s)
end
for i = buckets + 1, #KEYS do
  local mine, sum = tonumber(ARGV[3 + 2 * buckets + i]), 0
  local fields = redis.call('HGETALL', KEYS[i])
  for j = 1, #fields, 2 do
    local count, till = string.match(fields[j + 1], '^(%d+) (.+)$')
    if tonumber(till) <= now or (fields[j] == replica and mine == 0) then
      redis.call('HDEL', KEYS[i], fields[j])
    elseif fields[j] ~= replica then
      sum = sum + count
    end
  end
  if mine > 0 then
    redis.call('HSET', KEYS[i], replica, mine .. ' ' .. number(now + ttl))
    if redis.call('PTTL', KEYS[i]) < ttl * 1000 then
      redis.call('PEXPIRE', KEYS[i], string.format('%d', math.ceil(ttl * 1000)))
    end
  end
  others[i - buckets] = sum
end
return {{levels, others}}
"""

ACQUIRE = f"""#!lua
-- KEYS: the lease. ARGV: owner, seconds
{_NOW}
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'till')
local token = tonumber(lease[2] or 0)
if tonumber(lease[3] or 0) <= now then
  token = token + 1
elseif lease[1] ~= ARGV[1] then
  return 0
end
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', token, 'till', number(now + ARGV[2]))
return token
"""

RENEW = f"""#!lua
-- KEYS: the lease. ARGV: owner, token, seconds from now on; 0 to end it
{_NOW}
local lease = redis.call('HMGET', KEYS[1], 'owner', 'token', 'till')
if lease[1] ~= ARGV[1] or lease[2] ~= ARGV[2] or tonumber(lease[3]) <= now then return 0 end
redis.call('HSET', KEYS[1], 'till', number(now + ARGV[3]))
return 1
"""

NOTE = """#!lua
-- KEYS: the note. ARGV: version, text
local note = redis.call('HMGET', KEYS[1], 'version', 'text')
local version = tonumber(note[1] or 0)
if version == tonumber(ARGV[1]) and note[2] == ARGV[2] then return 1 end
if version + 1 ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'text', ARGV[2])
return 1
"""

REPORT = f"""#!lua
-- KEYS: members. ARGV: replica, seconds, document
{_NOW}
local fields = redis.call('HGETALL', KEYS[1])
for i = 1, #fields, 2 do
  if tonumber(string.match(fields[i + 1], '^%S+')) <= now then redis.call('HDEL', KEYS[1], fields[i]) end
end
redis.call('HSET', KEYS[1], ARGV[1], number(now + ARGV[2]) .. ' ' .. number(now) .. ' ' .. ARGV[3])
"""

MEMBERS = f"""#!lua flags=no-writes
-- KEYS: members
{_NOW}
return {{number(now), redis.call('HVALS', KEYS[1])}}
"""
