"""Records of shadow mode in Redis, beside the trail, under the same hash tag.

`pairs:ROUTE:state` has the last number that was given and what is in the rings; `pairs:ROUTE:records` and
`pairs:ROUTE:texts` are hashes by number. A text is kept as "AT BYTES JSON".
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from gateway.stores.pairs import Caps, Filed, Kept
from gateway.stores.redis_link import Link
from gateway.stores.url import RedisUrl

_SEEN_S = 600  # how long it is known where a record was filed; a retry comes within seconds, an opinion in minutes
_FILE = """#!lua
-- KEYS: state, records, texts, then one for each record, with the number that it is filed under
-- ARGV: cap of records, of texts, of their bytes, the oldest time of a text, seconds to remember what is filed,
--   then of each record: time, JSON, its texts or "", 1 if it amends one that is filed
local state = redis.call('HMGET', KEYS[1], 'last', 'first', 'texts', 'bytes', 'oldest')
local last, first = tonumber(state[1] or 0), tonumber(state[2] or 1)
local texts, bytes, oldest = tonumber(state[3] or 0), tonumber(state[4] or 0), tonumber(state[5] or 1)
for i = 4, #KEYS do
  local at = 5 + (i - 4) * 4
  if ARGV[at + 4] == '1' then
    local number = redis.call('GET', KEYS[i])
    if number and redis.call('HEXISTS', KEYS[2], number) == 1 then
      redis.call('HSET', KEYS[2], number, ARGV[at + 2])
      local text = redis.call('HGET', KEYS[3], number)
      if text and ARGV[at + 3] ~= '' then
        local since, size = string.match(text, '^(%S+) (%d+) ')
        redis.call('HSET', KEYS[3], number, since .. ' ' .. #ARGV[at + 3] .. ' ' .. ARGV[at + 3])
        bytes = bytes + #ARGV[at + 3] - size
      end
    end
  elseif redis.call('SET', KEYS[i], last + 1, 'NX', 'EX', ARGV[5]) then
    last = last + 1
    redis.call('HSET', KEYS[2], last, ARGV[at + 2])
    if ARGV[at + 3] ~= '' then
      redis.call('HSET', KEYS[3], last, ARGV[at + 1] .. ' ' .. #ARGV[at + 3] .. ' ' .. ARGV[at + 3])
      texts, bytes = texts + 1, bytes + #ARGV[at + 3]
    end
  end
end
while last - first + 1 > tonumber(ARGV[1]) do
  redis.call('HDEL', KEYS[2], first)
  first = first + 1
end
while texts > 0 do
  local text = redis.call('HGET', KEYS[3], oldest)
  if text then
    local at, size = string.match(text, '^(%S+) (%d+) ')
    if texts <= tonumber(ARGV[2]) and bytes <= tonumber(ARGV[3]) and tonumber(at) >= tonumber(ARGV[4]) then break end
    redis.call('HDEL', KEYS[3], oldest)
    texts, bytes = texts - 1, bytes - size
  end
  oldest = oldest + 1
end
redis.call('HSET', KEYS[1], 'last', last, 'first', first, 'texts', texts, 'bytes', bytes, 'oldest', oldest)
return last
"""


class RedisPairs:
    """A `PairStore` at `url`. As durable as the server's settings are: see `redis.py`."""

    def __init__(self, url: RedisUrl) -> None:
        self._link = Link(url)
        self._tag = f"{{{url.prefix}}}:pairs"

    def open(self) -> None:
        self._link.run(lambda client: client.ping())

    def file(self, filed: Sequence[Filed], caps: Caps) -> None:
        """All of one route at once; of several routes, one after the other: filed again, those are skipped."""
        for route in sorted({one.route for one in filed}):
            mine = [one for one in filed if one.route == route]
            keys = [self._key(route, name) for name in ("state", "records", "texts")]
            keys += [f"{self._tag}:filed:{one.id}" for one in mine]
            too_old = max(one.at for one in mine) - caps.text_age_s
            args: list[Any] = [caps.records, caps.texts, caps.text_bytes, too_old, _SEEN_S]
            for one in mine:
                args += [repr(one.at), one.record, one.texts or "", int(one.amends)]
            self._link.run(partial(_eval, keys, args))

    def records(self, route: str, after: int, limit: int) -> list[Kept]:
        first, last = self._bounds(route)
        return self._read(route, range(max(after + 1, first), min(max(after, first - 1) + limit, last) + 1))

    def newest(self, route: str, *, before: int | None = None, limit: int = 50) -> list[Kept]:
        first, last = self._bounds(route)
        end = last if before is None else min(before - 1, last)
        numbers = range(end, max(end - limit, first - 1), -1)
        found = self._read(route, numbers)
        texts = self._values(route, "texts", [kept.number for kept in found])
        return [
            Kept(kept.number, kept.record, None if text is None else text.split(" ", 2)[2])
            for kept, text in zip(found, texts, strict=True)
        ]

    def close(self) -> None:
        self._link.close()

    def _bounds(self, route: str) -> tuple[int, int]:
        first, last = self._link.run(lambda client: client.hmget(self._key(route, "state"), ["first", "last"]))
        return int(first or 1), int(last or 0)

    def _read(self, route: str, numbers: range) -> list[Kept]:
        found = zip(numbers, self._values(route, "records", numbers), strict=True)
        return [Kept(number, record) for number, record in found if record is not None]

    def _values(self, route: str, name: str, numbers: Sequence[int]) -> list[str | None]:
        if not numbers:
            return []
        return list(self._link.run(lambda client: client.hmget(self._key(route, name), list(numbers))))

    def _key(self, route: str, name: str) -> str:
        return f"{self._tag}:{route}:{name}"


def _eval(keys: list[str], args: list[Any], client: Any) -> Any:
    return client.eval(_FILE, len(keys), *keys, *args)
