"""Records that wait to be kept: in order, bounded in number and in bytes."""

import logging
from collections import deque
from collections.abc import Iterator

import msgspec

from gateway.after.sample import Record
from gateway.stores.pairs import Filed

MOST = 10_000
MOST_BYTES = 64 * 1024 * 1024
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger(__name__)


class Outbox:
    """Mutable state: what waits, its size, and `dropped`, how many records found no room since somebody last took the
    count. Where only the texts of a pair find none, its record waits without them."""

    def __init__(self) -> None:
        self._waiting: deque[Filed] = deque()
        self._bytes = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Filed]:
        return iter(self._waiting)

    @property
    def size(self) -> int:
        """In bytes, about."""
        return self._bytes

    def put(self, record: Record, texts: str | None, *, amends: bool = False) -> None:
        try:
            told = _encode(record).decode()
        except (msgspec.EncodeError, UnicodeEncodeError):  # a defect of ours; it must not stop all the others
            _log.exception("the record of sample %s cannot be written", record.pair_id)
            self.dropped += 1
            return
        if texts is not None and self._bytes + len(told) + len(texts) > MOST_BYTES:
            texts = None
        if len(self._waiting) >= MOST or self._bytes + len(told) > MOST_BYTES:
            self.dropped += 1
            return
        filed = Filed(f"{record.pair_id}-{record.arm.value}", record.route, record.at, told, texts, amends)
        self._waiting.append(filed)
        self._bytes += _size(filed)

    def oldest(self, most: int, most_bytes: int) -> list[Filed]:
        """At most so many, and about so many bytes, but one at least if any waits. They go on waiting."""
        found: list[Filed] = []
        for filed in self._waiting:
            most_bytes -= _size(filed)
            if found and (len(found) >= most or most_bytes < 0):
                break
            found.append(filed)
        return found

    def take(self, count: int) -> None:
        """The oldest so many are kept: they wait no more."""
        for _ in range(count):
            self._bytes -= _size(self._waiting.popleft())


def _size(filed: Filed) -> int:
    return len(filed.record) + len(filed.texts or "")
