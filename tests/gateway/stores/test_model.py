"""Both stores side by side with a model in memory, whatever is done in whatever order."""

import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.control.trail import seal, verify
from gateway.stores.protocols import NO_HASH, Bucket, Change, HeadMoved, Key, Lease, Member, Standing, Store, StoreError
from gateway.stores.url import make_store
from tests.gateway.stores.writing import draft
from tests.support.redis import RedisServer

LONG_S = 1000.0
SLOW = 1e-3  # units a second: next to nothing in the time that a test takes
keys = st.sampled_from([Key("route", "a"), Key("route", "b"), Key("gateway", "")])
replicas = st.sampled_from(["one", "two", "three"])
names = st.sampled_from(["x", "y"])
capacities = {"x": 10.0, "y": 1000.0}


class Stores(RuleBasedStateMachine):
    """Whatever is done is done to the model, and to both stores, each through either of two clients."""

    redis_url: str
    numbers = count()

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        sqlite = f"sqlite:///{Path(self.directory.name) / 'understudy.db'}"
        redis = f"{self.redis_url}?prefix=model-{next(self.numbers)}"
        self.clients = [[make_store(url), make_store(url)] for url in (sqlite, redis)]
        self.trail: list[Change] = []
        self.levels = dict(capacities)
        self.held: dict[tuple[str, str], int] = {}
        self.leases: dict[str, Lease] = {}
        self.tokens = {"x": 0, "y": 0}
        self.listed: dict[str, Member] = {}

    def each(self, do: Any, client: bool) -> Any:
        """What both stores answer, which must be the same."""
        answers = [do(clients[client]) for clients in self.clients]
        assert answers[0] == answers[1]
        return answers[0]

    def version(self, key: Key) -> int:
        return sum(change.draft.key == key for change in self.trail)

    def tried(self, store: Store, change: Change) -> str:
        try:
            store.append(change)
        except HeadMoved:
            return "moved"
        except StoreError:
            return "refused"
        return "done"

    @rule(key=keys, back=st.integers(0, 3), skip=st.integers(0, 1), n=st.integers(0, 1), client=st.booleans())
    def append(self, key: Key, back: int, skip: int, n: int, client: bool) -> None:
        """On the head, or on an earlier one; with the next version, or the one after it."""
        at = max(len(self.trail) - back, 0)
        before = self.trail[at - 1].hash if at else NO_HASH
        version = sum(change.draft.key == key for change in self.trail[:at]) + 1 + skip
        change = seal(draft(key, version, {"n": n}), at + 1, before)
        if at == len(self.trail):
            expected = "refused" if skip else "done"
        else:
            expected = "done" if self.trail[at] == change else "moved"
        assert self.each(lambda store: self.tried(store, change), client) == expected
        if at == len(self.trail) and expected == "done":
            self.trail.append(change)

    @rule(wanted=st.lists(keys, max_size=4), client=st.booleans())
    def load(self, wanted: list[Key], client: bool) -> None:
        changes: list[Change] = []
        for key in wanted:
            version = self.version(key) + 1 + sum(change.draft.key == key for change in changes)
            last = (self.trail + changes)[-1:]
            before = last[0].hash if last else NO_HASH
            changes.append(seal(draft(key, version), len(self.trail) + len(changes) + 1, before))
        self.each(lambda store: store.load(changes), client)
        self.trail += changes

    @rule(key=keys, before=st.none() | st.integers(-1, 9), limit=st.integers(1, 4), client=st.booleans())
    def read_history(self, key: Key, before: int | None, limit: int, client: bool) -> None:
        expected = [
            change
            for change in reversed(self.trail)
            if change.draft.key == key and (before is None or change.draft.version < before)
        ]
        found = self.each(lambda store: store.history(key, before_version=before, limit=limit), client)
        assert found == expected[:limit]

    @rule(after=st.integers(0, 12), limit=st.integers(1, 5), client=st.booleans())
    def read_entries(self, after: int, limit: int, client: bool) -> None:
        assert self.each(lambda store: store.entries(after, limit), client) == self.trail[after : after + limit]

    @rule(
        replica=replicas,
        used=st.dictionaries(names, st.integers(-15, 30)),
        held=st.dictionaries(names, st.integers(0, 3)),
        client=st.booleans(),
    )
    def share(self, replica: str, used: dict[str, int], held: dict[str, int], client: bool) -> None:
        buckets = [Bucket(name, capacities[name], SLOW, units) for name, units in used.items()]
        for name, units in used.items():
            self.levels[name] = min(self.levels[name] - units, capacities[name])
        for name, number in held.items():
            self.held[name, replica] = number
        others = {
            name: sum(number for (other, who), number in self.held.items() if other == name and who != replica)
            for name in held
        }
        for clients in self.clients:
            levels, found = clients[client].share(replica, buckets, held, LONG_S)
            assert levels == pytest.approx({name: self.levels[name] for name in used}, abs=0.2)
            assert found == others

    @rule(name=names, owner=replicas, client=st.booleans())
    def acquire(self, name: str, owner: str, client: bool) -> None:
        holder = self.leases.get(name)
        expected = holder if holder is not None and holder.owner == owner else None
        if holder is None:
            self.tokens[name] += 1
            expected = self.leases[name] = Lease(name, owner, self.tokens[name])
        assert self.each(lambda store: store.acquire(name, owner, LONG_S), client) == expected

    @rule(name=names, owner=replicas, older=st.integers(0, 1), end=st.booleans(), client=st.booleans())
    def renew_or_release(self, name: str, owner: str, older: int, end: bool, client: bool) -> None:
        lease = Lease(name, owner, self.tokens[name] - older)
        holds = self.leases.get(name) == lease
        if not end:
            assert self.each(lambda store: store.renew(lease, LONG_S), client) == holds
            return
        self.each(lambda store: store.release(lease), client)
        if holds:
            del self.leases[name]

    @rule(replica=replicas, revision=st.integers(0, 5), client=st.booleans())
    def report(self, replica: str, revision: int, client: bool) -> None:
        self.listed[replica] = Member(replica, "host", "0.1", 1.5, revision, 2.5, False, 0)
        self.each(lambda store: store.report(self.listed[replica], LONG_S), client)

    @rule(replica=replicas, client=st.booleans())
    def leave(self, replica: str, client: bool) -> None:
        self.listed.pop(replica, None)
        self.each(lambda store: store.leave(replica), client)

    @invariant()
    def all_is_there(self) -> None:
        newest = {change.draft.key: change for change in self.trail}
        head = (len(self.trail), self.trail[-1].hash if self.trail else NO_HASH)
        for clients in self.clients:
            for store in clients:
                assert store.head() == head
                assert store.current() == Standing(*head, newest)
                listed = [(each.replica, each.revision) for each in store.members()]
                assert listed == [(replica, self.listed[replica].revision) for replica in sorted(self.listed)]

    def teardown(self) -> None:
        for clients in getattr(self, "clients", []):
            assert verify(clients[0].entries(0, 1000)) == clients[1].head()
            for store in clients:
                store.close()
        if hasattr(self, "directory"):
            self.directory.cleanup()


def test_both_stores_do_as_the_model_does(redis: RedisServer) -> None:
    Stores.redis_url = redis.url
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Stores, settings=settings(max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=slow)
    )
