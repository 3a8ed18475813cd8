"""What a key may use is shared by all workers, through the store.

Several times a second each worker tells what its requests used and how many are under way, and learns what is left and
what is under way elsewhere. No request waits for that: between two times a worker decides by itself, and how
much more all of them may let through is said in `router_policies.budgets`.

With the store down each worker goes on with what it last knew and a budget of its own. What it used in that time is not
made up for: else all keys that are at their limits would have to wait for minutes once the store is back.
"""

import asyncio
import logging
from collections.abc import Iterable
from time import monotonic

from gateway.budgets import KeyBudget
from gateway.stores.protocols import Bucket, BudgetStore, StoreError

SHARE_S = 0.25
_FORGOTTEN_S = 3.0  # what a worker that says nothing for so long has under way is no longer counted
_MINUTE_S = 60.0
_log = logging.getLogger(__name__)


class Shares:
    """Budgets that this worker, by the name of `replica`, shares with all that use the same store."""

    def __init__(self, store: BudgetStore, replica: str) -> None:
        self._store = store
        self._replica = replica
        self._shared_at = monotonic()
        self._alone = False

    async def sync(self, budgets: Iterable[KeyBudget]) -> None:
        """Tell what was used since the last time, and learn what there is. To be called every `SHARE_S`."""
        budgets = list(budgets)
        buckets = {
            f"{budget.name}/{limit}": bucket for budget in budgets for limit, bucket in budget.budget.buckets.items()
        }
        held = {each.name: each.budget for each in budgets if each.budget.limits.concurrency is not None}
        if not buckets and not held:
            return
        used = [Bucket(name, each.capacity, each.capacity / _MINUTE_S, each.untold) for name, each in buckets.items()]
        in_use = {name: budget.in_use for name, budget in held.items()}
        for bucket in buckets.values():
            bucket.untold = 0
        try:
            levels, elsewhere = await asyncio.to_thread(self._store.share, self._replica, used, in_use, _FORGOTTEN_S)
        except StoreError as error:
            self._go_on_alone(error, budgets)
            return
        self._shared_at = now = monotonic()
        for name, level in levels.items():
            buckets[name].set_level(level - buckets[name].untold, now)
        for name, count in elsewhere.items():
            held[name].in_use_elsewhere = count
        if self._alone:
            self._alone = False
            _log.warning("keys' budgets are shared with the other workers again")

    def _go_on_alone(self, error: StoreError, budgets: Iterable[KeyBudget]) -> None:
        """What is under way elsewhere stands for a while, as it does in the store."""
        if self._alone or monotonic() - self._shared_at < _FORGOTTEN_S:
            return
        self._alone = True
        _log.warning("each worker has keys' budgets of its own until the store is back: %s", error)
        for budget in budgets:
            budget.budget.in_use_elsewhere = 0
