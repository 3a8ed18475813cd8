"""Keeps what shadow mode has found: in batches, off the event loop, again until it is done."""

import asyncio
import logging

from gateway.after.shadows import Shadows
from gateway.control.offload import Offload
from gateway.stores.pairs import PairStore
from gateway.stores.protocols import StoreError

_BATCH, _BATCH_BYTES = 200, 4 * 1024 * 1024
_WITHIN_S = 10.0
_log = logging.getLogger(__name__)


class Filing:
    """`flush` about once a second, and once more at the end. `error`: why nothing can be kept now, "" if it can."""

    def __init__(self, shadows: Shadows, store: PairStore) -> None:
        self._shadows = shadows
        self._store = store
        self._io = Offload()
        self._flushing = asyncio.Lock()  # the last flush may come while one is under way
        self.error = ""

    async def flush(self) -> None:
        """Keep what waits. What cannot be kept goes on waiting."""
        async with self._flushing:
            outbox = self._shadows.outbox
            while batch := outbox.oldest(_BATCH, _BATCH_BYTES):
                try:
                    await self._io.run(_WITHIN_S, self._store.file, batch, self._shadows.caps)
                except (StoreError, TimeoutError) as error:
                    self._say(str(error) or f"it did not answer within {_WITHIN_S:g} s")
                    return
                self._say("")
                outbox.take(len(batch))

    def close(self) -> None:
        """What still waits is lost."""
        if lost := len(self._shadows.outbox):
            _log.error("shadow mode: the last %d records are lost, the store cannot be used: %s", lost, self.error)
        self._io.close()

    def _say(self, error: str) -> None:
        if error and not self.error:
            _log.warning("shadow mode: records wait, the store cannot be used: %s", error)
        elif self.error and not error:
            _log.warning("shadow mode: the store takes records again")
        self.error = error
