"""What every store promises, asked of each."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic, sleep, time

import pytest

from gateway.control.trail import seal, verify
from gateway.stores.protocols import (
    NO_HASH,
    Bucket,
    Change,
    HeadMoved,
    Key,
    Lease,
    Member,
    Note,
    Standing,
    Store,
    StoreError,
    Undo,
)
from tests.gateway.stores.conftest import Place
from tests.gateway.stores.writing import OTHER, ROUTE, chain, draft, sealed_on, write


def all_entries(store: Store) -> list[Change]:
    return store.entries(0, 10**6)


def test_it_begins_empty(store: Store) -> None:
    assert store.head() == (0, NO_HASH)
    assert store.current() == Standing(0, NO_HASH, {})
    assert all_entries(store) == store.history(ROUTE) == store.members() == []


def test_what_is_appended_is_read_as_it_was(place: Place) -> None:
    store = place.store()
    document = {"student_percent": 25, "deep": {"é\0\n": [1.5, 5.0, 5, 10**18, None, True, {}, [], "\ud800"]}}
    undo = (Undo(1_700_000_060.0, {"student_percent": None}, 1), Undo(2e9, {}, 1))
    first = seal(draft(Key("route", "ä/b c"), 1, document, undo), 1, NO_HASH)
    store.append(first)
    second = seal(draft(OTHER, 1, {}), 2, first.hash)
    store.append(second)
    for reader in (store, place.store()):
        assert all_entries(reader) == [first, second]
        assert reader.head() == (2, second.hash)
        assert reader.current() == Standing(2, second.hash, {first.draft.key: first, OTHER: second})
        assert reader.history(first.draft.key) == [first]
        assert verify(all_entries(reader)) == reader.head()
    kept = store.current().changes[first.draft.key].draft.document
    assert json.dumps(kept, sort_keys=True) == json.dumps(document, sort_keys=True)  # 5 is no 5.0


def test_the_newest_change_of_each_document_stands(store: Store) -> None:
    changes = [write(store, key, {"n": n}) for n, key in enumerate([ROUTE, OTHER, ROUTE, ROUTE])]
    assert store.current().changes == {ROUTE: changes[3], OTHER: changes[1]}


def test_an_entry_that_is_there_is_no_error_and_is_there_once(store: Store) -> None:
    changes = [write(store) for _ in range(3)]
    for change in changes:
        store.append(change)
    assert all_entries(store) == changes


@pytest.mark.parametrize("behind", [1, 2, 3])
def test_what_was_sealed_on_another_head_is_refused(store: Store, behind: int) -> None:
    changes = [write(store) for _ in range(3)]
    earlier = changes[-behind]
    late = seal(draft(ROUTE, earlier.draft.version, {"late": True}), earlier.revision, earlier.before)
    with pytest.raises(HeadMoved):
        store.append(late)
    ahead = seal(draft(ROUTE, 4), 5, "1" * 64)
    with pytest.raises(HeadMoved):
        store.append(ahead)
    elsewhere = seal(draft(ROUTE, 4), 4, "1" * 64)
    with pytest.raises(HeadMoved):
        store.append(elsewhere)
    assert all_entries(store) == changes
    assert store.current().changes == {ROUTE: changes[-1]}


@pytest.mark.parametrize("version", [1, 2, 4, 0])
def test_a_document_has_every_version_once(store: Store, version: int) -> None:
    changes = [write(store), write(store)]
    with pytest.raises(StoreError, match=rf"expected version 3 of route 'support-chat', got {version}"):
        store.append(seal(draft(ROUTE, version), 3, changes[-1].hash))
    assert all_entries(store) == changes
    write(store)


def test_a_history_is_read_from_its_end(store: Store) -> None:
    for key in [ROUTE, OTHER] * 7:
        write(store, key)
    versions = [change.draft.version for change in store.history(ROUTE)]
    assert versions == [7, 6, 5, 4, 3, 2, 1]
    assert {change.draft.key for change in store.history(ROUTE)} == {ROUTE}
    for before in (None, 9, 8, 7, 4, 2, 1, 0, -3):
        for limit in (1, 2, 3, 100):
            found = [change.draft.version for change in store.history(ROUTE, before_version=before, limit=limit)]
            assert found == [version for version in versions if before is None or version < before][:limit]
    assert store.history(Key("route", "unknown")) == []


def test_the_trail_is_read_in_pieces(store: Store) -> None:
    changes = [write(store) for _ in range(5)]
    for after in range(7):
        for limit in (1, 2, 100):
            assert store.entries(after, limit) == changes[after : after + limit]


def outputs(processes: Iterable[subprocess.Popen[str]], seconds: float) -> list[tuple[int, str]]:
    accepted = []
    for process in processes:
        out, _ = process.communicate(timeout=seconds)
        accepted += [(int(line.split()[0]), line.split()[1]) for line in out.splitlines()]
    return accepted


def competitors(place: Place, count: int, each: int, seconds: float) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.gateway.stores.writing", place.url]
    return [
        subprocess.Popen([*command, f"p{n}", str(each), str(seconds)], stdout=subprocess.PIPE, text=True)
        for n in range(count)
    ]


def test_of_many_processes_each_change_is_accepted_once(place: Place) -> None:
    accepted = outputs(competitors(place, 4, 25, 30), 40)
    store = place.store()
    found = all_entries(store)
    assert verify(found) == store.head() == (100, found[-1].hash)
    assert sorted(accepted) == [(change.revision, change.hash) for change in found]
    written = [(change.draft.document["by"], change.draft.document["n"]) for change in found]
    assert sorted(written) == [(f"p{process}", n) for process in range(4) for n in range(25)]


def test_what_was_accepted_outlives_the_process(place: Place) -> None:
    (writer,) = competitors(place, 1, 10**6, 30)
    assert writer.stdout is not None
    for _ in range(20):
        writer.stdout.readline()
    writer.kill()
    told = 20 + len(writer.stdout.readlines())
    writer.wait()
    store = place.store()
    assert store.head()[0] in (told, told + 1)  # one may be accepted and not told
    assert verify(all_entries(store)) == store.head()
    write(store)


def test_loading_takes_all_or_nothing(store: Store) -> None:
    changes = chain([ROUTE, OTHER] * 600)
    store.load([])
    store.load(changes[:3])
    assert store.head() == (3, changes[2].hash)
    for wrong in (changes[:5], changes[4:], chain([ROUTE] * 5)[3:]):
        with pytest.raises(StoreError, match="its trail"):
            store.load(wrong)
    skips = seal(draft(ROUTE, 900), 1201, changes[-1].hash)
    with pytest.raises(StoreError, match=r"expected version 601 of route 'support-chat', got 900"):
        store.load([*changes[3:], skips])
    assert all_entries(store) == changes[:3]
    store.load(changes[3:])
    assert all_entries(store) == changes
    assert store.current().changes == {ROUTE: changes[-2], OTHER: changes[-1]}
    assert [change.draft.version for change in store.history(OTHER, limit=2)] == [600, 599]
    write(store)


def waited(store: Store, revision: int, timeout_s: float) -> float:
    began = monotonic()
    store.wait(revision, timeout_s)
    return monotonic() - began


def test_waiting_ends_in_time_or_at_once(store: Store) -> None:
    assert 0.2 <= waited(store, 0, 0.2) < 0.6
    write(store)
    assert waited(store, 0, 5) < 0.2
    assert 0.2 <= waited(store, 1, 0.2) < 0.6
    assert 0.2 <= waited(store, 7, 0.2) < 0.6


def test_waiting_ends_when_another_appends(place: Place) -> None:
    waiting, writing = place.store(), place.store()
    for revision in range(10):
        woken: list[float] = []

        def wait(revision: int = revision, woken: list[float] = woken) -> None:
            waiting.wait(revision, 5)
            woken.append(monotonic())

        waiter = threading.Thread(target=wait)
        waiter.start()
        sleep(0.03)
        write(writing)
        written = monotonic()
        waiter.join()
        assert woken[0] - written < 0.25


def test_waiting_ends_when_the_store_is_closed(store: Store) -> None:
    store.open()
    took: list[float] = []
    waiter = threading.Thread(target=lambda: took.append(waited(store, 0, 30)))
    waiter.start()
    sleep(0.2)
    store.close()
    waiter.join()
    assert took[0] < 2
    write(store)  # it can be used again


def test_replicas_share_a_bucket(place: Place) -> None:
    one, two = place.store(), place.store()

    def level(store: Store, used: float, capacity: float = 60, per_s: float = 1e-6) -> float:
        return store.share("r", [Bucket("key/tokens", capacity, per_s, used)], {}, 5)[0]["key/tokens"]

    assert level(one, 0) == pytest.approx(60)
    assert level(one, 10) == pytest.approx(50)
    assert level(two, 0) == pytest.approx(50)
    assert level(two, 70.5) == pytest.approx(-20.5)
    assert level(one, -30.5) == pytest.approx(10)  # a reservation that was not used
    assert level(one, -500) == pytest.approx(60)  # never above what it holds
    assert level(two, 1) == pytest.approx(59)
    both = [Bucket("key/tokens", 60, 1e-6, 1), Bucket("other", 5, 1e-6, 2)]
    assert one.share("r", both, {}, 5)[0] == pytest.approx({"key/tokens": 58, "other": 3})
    assert one.share("r", [], {}, 5) == ({}, {})


def test_a_bucket_fills_up_again(place: Place) -> None:
    one, two = place.store(), place.store()
    began = monotonic()
    assert one.share("r", [Bucket("b", 100, 100, 150)], {}, 5)[0]["b"] == pytest.approx(-50, abs=5)
    sleep(0.3)
    level = two.share("s", [Bucket("b", 100, 100, 0)], {}, 5)[0]["b"]
    assert -50 + 30 - 1 <= level <= -50 + 100 * (monotonic() - began) + 1
    sleep(1.4)
    assert two.share("s", [Bucket("b", 100, 100, 0)], {}, 5)[0]["b"] == pytest.approx(100)
    assert two.share("s", [Bucket("b", 100, 100, 1)], {}, 5)[0]["b"] == pytest.approx(99, abs=0.5)


def test_nothing_that_was_used_is_lost_when_many_tell_it_at_once(place: Place) -> None:
    def tell(replica: str) -> None:
        store = place.store()
        for _ in range(25):
            store.share(replica, [Bucket("b", 1000, 1e-6, 1)], {"b": 1}, 60)

    tellers = [threading.Thread(target=tell, args=(f"r{n}",)) for n in range(4)]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    levels, others = place.store().share("r0", [Bucket("b", 1000, 1e-6, 0)], {"b": 0}, 60)
    assert levels["b"] == pytest.approx(900)
    assert others == {"b": 3}


def test_replicas_learn_what_the_others_hold(place: Place) -> None:
    one, two = place.store(), place.store()
    assert one.share("one", [], {"a": 3, "b": 0}, 60)[1] == {"a": 0, "b": 0}
    assert two.share("two", [], {"a": 2, "b": 1}, 60)[1] == {"a": 3, "b": 0}
    assert one.share("one", [], {"a": 1, "b": 0}, 60)[1] == {"a": 2, "b": 1}
    assert two.share("two", [], {"a": 0}, 60)[1] == {"a": 1}
    assert one.share("one", [], {"a": 0, "b": 0, "c": 0}, 60)[1] == {"a": 0, "b": 1, "c": 0}


def test_what_a_replica_held_is_forgotten_when_it_says_nothing(store: Store) -> None:
    store.share("gone", [], {"a": 3}, 0.3)
    store.share("stays", [], {"a": 4}, 30)
    assert store.share("me", [], {"a": 0}, 5)[1] == {"a": 7}
    sleep(0.4)
    assert store.share("me", [], {"a": 0}, 5)[1] == {"a": 4}


def test_a_lease_has_one_holder(place: Place) -> None:
    one, two = place.store(), place.store()
    lease = one.acquire("rollout", "one", 30)
    assert lease == Lease("rollout", "one", 1)
    assert one.acquire("rollout", "one", 30) == lease
    assert two.acquire("rollout", "two", 30) is None
    assert two.acquire("another", "two", 30) == Lease("another", "two", 1)
    assert one.renew(lease, 30)
    assert not two.renew(replace(lease, owner="two"), 30)
    assert not one.renew(replace(lease, token=2), 30)
    two.release(replace(lease, owner="two"))
    assert two.acquire("rollout", "two", 30) is None
    one.release(lease)
    assert not one.renew(lease, 30)
    assert two.acquire("rollout", "two", 30) == Lease("rollout", "two", 2)
    assert not one.renew(Lease("unknown", "one", 1), 30)
    one.release(Lease("unknown", "one", 1))


def test_a_lease_ends_and_its_token_is_never_given_again(place: Place) -> None:
    one, two = place.store(), place.store()
    lease = one.acquire("rollout", "one", 0.3)
    assert lease is not None
    sleep(0.2)
    assert one.renew(lease, 0.3)
    sleep(0.2)
    assert two.acquire("rollout", "two", 5) is None
    sleep(0.2)
    assert not one.renew(lease, 5)
    again = one.acquire("rollout", "one", 0.2)
    assert again == Lease("rollout", "one", 2)
    sleep(0.3)
    assert two.acquire("rollout", "two", 5) == Lease("rollout", "two", 3)


def test_of_many_that_want_a_lease_one_gets_it(place: Place) -> None:
    got: list[Lease] = []
    together = threading.Barrier(6)

    def want(owner: str) -> None:
        store = place.store()
        store.open()
        together.wait()
        lease = store.acquire("rollout", owner, 30)
        if lease is not None:
            got.append(lease)

    wanting = [threading.Thread(target=want, args=(f"o{n}",)) for n in range(6)]
    for thread in wanting:
        thread.start()
    for thread in wanting:
        thread.join()
    assert [lease.token for lease in got] == [1]


def test_a_note_is_read_as_it_was_written(place: Place) -> None:
    one, two = place.store(), place.store()
    assert one.noted("rollout:a") is None
    for version, text in enumerate(['{"é": "\\u0000 \\ud800"}', "", "x" * 100_000], start=1):
        note = Note(version, text)
        assert one.note("rollout:a", note)
        assert one.noted("rollout:a") == two.noted("rollout:a") == note
    assert two.noted("rollout:b") is None
    assert two.note("rollout:b", Note(1, "another"))
    assert one.noted("rollout:a") == Note(3, "x" * 100_000)


@pytest.mark.parametrize("version", [0, 1, 2, 4, 5])
def test_a_note_that_does_not_follow_the_last_is_refused(place: Place, version: int) -> None:
    leader, of_old = place.store(), place.store()
    assert not of_old.note("rollout", Note(3, "nothing is there"))
    for number in (1, 2, 3):
        assert leader.note("rollout", Note(number, f"text {number}"))
    assert not of_old.note("rollout", Note(3, "another"))
    follows = version == 4
    assert of_old.note("rollout", Note(version, "late")) is follows
    assert leader.noted("rollout") == (Note(4, "late") if follows else Note(3, "text 3"))


def test_a_note_that_is_written_again_is_no_error(place: Place) -> None:
    one, two = place.store(), place.store()
    for number in (1, 2):
        for store in (one, two, one):
            assert store.note("rollout", Note(number, "same"))
    assert one.noted("rollout") == Note(2, "same")
    assert not one.note("rollout", Note(1, "same"))


def test_of_many_that_write_a_note_one_does(place: Place) -> None:
    wrote: list[str] = []
    together = threading.Barrier(6)

    def write_one(name: str) -> None:
        store = place.store()
        store.open()
        together.wait()
        if store.note("rollout", Note(1, name)):
            wrote.append(name)

    writing = [threading.Thread(target=write_one, args=(f"w{n}",)) for n in range(6)]
    for thread in writing:
        thread.start()
    for thread in writing:
        thread.join()
    assert [Note(1, name) for name in wrote] == [place.store().noted("rollout")]


def member(replica: str, **changed: object) -> Member:
    return replace(Member(replica, "host", "0.1", 1e9 + 0.5, 7, 1e9 + 1, False, 3), **changed)  # type: ignore[arg-type]


def test_members_are_listed_while_they_report(place: Place) -> None:
    one, two = place.store(), place.store()
    one.report(member("b"), 30)
    two.report(member("a", draining=True, in_flight=0), 30)
    before = time()
    one.report(member("b", revision=8), 30)
    one.report(member("c"), 0.2)
    listed = two.members()
    assert [replace(each, seen_at=0.0) for each in listed] == [
        member("a", draining=True, in_flight=0),
        member("b", revision=8),
        member("c"),
    ]
    assert before - 0.1 <= listed[1].seen_at <= time() + 0.1
    sleep(0.3)
    assert [each.replica for each in one.members()] == ["a", "b"]
    two.leave("a")
    two.leave("unknown")
    assert [each.replica for each in one.members()] == ["b"]


def test_what_was_sealed_by_one_is_continued_by_another(place: Place) -> None:
    one, two = place.store(), place.store()
    late = sealed_on(one, ROUTE, {"by": "one"})
    write(two, ROUTE, {"by": "two"})
    with pytest.raises(HeadMoved):
        one.append(late)
    write(one)
    assert verify(all_entries(two))[0] == 2


def test_what_another_version_says_of_itself_is_passed_over(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.report(member("a"), 30)
    with monkeypatch.context() as patched:
        patched.setattr("msgspec.json.encode", lambda said: b'{"replica": "b", "new": 1}')
        store.report(member("b"), 30)
    assert [each.replica for each in store.members()] == ["a"]
