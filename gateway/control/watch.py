"""Makes changes live: every worker looks at the store's revision several times a second and swaps its snapshot."""

import asyncio
import logging

from gateway.control.door import Door
from gateway.state import Gateway
from gateway.stores.protocols import StoreError

POLL_S = 0.2
_log = logging.getLogger(__name__)


class Watch:
    """`look` once, or again and again, also from several tasks: what is live never goes back to an older snapshot.

    With the store down, serving goes on with the last snapshot, and a gauge says so.
    """

    def __init__(self, gateway: Gateway, door: Door) -> None:
        self._gateway = gateway
        self._door = door
        self._seen = -1
        self._up = True
        self._looking = asyncio.Lock()  # a snapshot that was read first must not be applied last

    async def look(self) -> None:
        async with self._looking:
            try:
                revision = await self._door.revision()
                if revision != self._seen:
                    self._gateway.apply(await self._door.snapshot())
                    self._seen = revision
            except StoreError as error:
                self._show(False, str(error))
            else:
                self._show(True, "")

    def _show(self, up: bool, error: str) -> None:
        self._gateway.metrics.show_store(up)
        if up != self._up:
            self._up = up
            if up:
                _log.warning("the store answers again")
            else:
                _log.error("the store is down, serving goes on with the last snapshot: %s", error)
