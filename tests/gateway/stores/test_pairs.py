"""What every store of pairs promises, of both."""

import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from gateway.stores.pairs import Caps, Filed, PairStore
from gateway.stores.protocols import StoreError
from gateway.stores.url import make_pair_store
from tests.support.redis import RedisServer

_prefixes = count()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: RedisServer = request.getfixturevalue("redis")
    return f"{server.url}/0?prefix=pairs{next(_prefixes)}"


@pytest.fixture
def store(url: str) -> Iterator[PairStore]:
    store = make_pair_store(url)
    store.open()
    yield store
    store.close()


def filed(number: int, route: str = "chat", texts: str | None = None, at: float = 1000.0) -> Filed:
    return Filed(f"{route}-{number}", route, at + number, f'{{"n":{number}}}', texts)


def numbers(store: PairStore, route: str = "chat", after: int = 0, limit: int = 1000) -> list[int]:
    return [kept.number for kept in store.records(route, after, limit)]


def test_it_begins_empty(store: PairStore) -> None:
    assert store.records("chat", 0, 10) == []
    assert store.newest("chat") == []


def test_records_come_in_the_order_in_which_they_were_filed(store: PairStore) -> None:
    store.file([filed(1), filed(2, "other"), filed(3)], Caps())
    store.file([filed(4)], Caps())
    assert [(kept.number, kept.record) for kept in store.records("chat", 0, 10)] == [
        (1, '{"n":1}'),
        (2, '{"n":3}'),
        (3, '{"n":4}'),
    ]
    assert numbers(store, "other") == [1]
    assert numbers(store, after=1, limit=1) == [2]
    assert numbers(store, after=3) == []


def test_texts_are_with_the_newest(store: PairStore) -> None:
    store.file([filed(1, texts='{"é":"\u2028"}'), filed(2), filed(3, texts='"c"')], Caps())
    found = [(kept.number, kept.texts) for kept in store.newest("chat")]
    assert found == [(3, '"c"'), (2, None), (1, '{"é":"\u2028"}')]
    assert [kept.number for kept in store.newest("chat", before=3, limit=1)] == [2]


def test_what_is_filed_again_is_there_once(store: PairStore) -> None:
    store.file([filed(1, texts="a"), filed(2)], Caps())
    store.file([filed(2), filed(1, texts="a"), filed(3)], Caps())
    assert numbers(store) == [1, 2, 3]
    assert [kept.texts for kept in store.newest("chat")] == [None, None, "a"]


def amended(number: int, texts: str | None) -> Filed:
    return Filed(f"chat-{number}", "chat", 1000.0 + number, f'{{"n":{number},"more":1}}', texts, amends=True)


def test_a_record_that_is_amended_keeps_its_place(store: PairStore) -> None:
    store.file([filed(1, texts="a"), filed(2), filed(3, texts="c"), amended(3, '"c" and more')], Caps())
    for _ in range(2):  # it may be filed again, as all may
        store.file([amended(1, "a and é"), amended(2, "b"), amended(9, "i"), filed(4)], Caps())
    found = [(kept.number, kept.record, kept.texts) for kept in store.newest("chat")]
    assert found == [
        (4, '{"n":4}', None),
        (3, '{"n":3,"more":1}', '"c" and more'),
        (2, '{"n":2,"more":1}', None),
        (1, '{"n":1,"more":1}', "a and é"),
    ]


def test_what_is_gone_is_not_brought_back_by_amending_it(store: PairStore) -> None:
    store.file([filed(number, texts="x" * 10) for number in range(1, 5)], Caps(records=3, texts=2))
    store.file([amended(1, "y"), amended(2, "y"), amended(3, "y")], Caps(records=3, texts=2))
    assert [(kept.number, kept.texts) for kept in store.newest("chat")] == [(4, "x" * 10), (3, "y"), (2, None)]


def test_amended_texts_count_by_their_new_size(store: PairStore) -> None:
    caps = Caps(text_bytes=30)
    store.file([filed(1, texts="x" * 10), filed(2, texts="x" * 10)], caps)
    store.file([amended(2, "x" * 20)], caps)
    assert [kept.texts for kept in store.newest("chat")] == ["x" * 20, "x" * 10]
    store.file([amended(2, "x" * 21)], caps)
    assert [kept.texts for kept in store.newest("chat")] == ["x" * 21, None]


def test_records_are_a_ring(store: PairStore) -> None:
    for first in (0, 4, 8):
        store.file([filed(number) for number in range(first, first + 4)], Caps(records=5))
    assert numbers(store) == [8, 9, 10, 11, 12]
    assert numbers(store, after=9, limit=2) == [10, 11]


@pytest.mark.parametrize(
    ("caps", "left"),
    [(Caps(texts=3), 3), (Caps(text_bytes=250), 2), (Caps(text_age_s=4.5), 5), (Caps(texts=0), 0), (Caps(), 10)],
)
def test_texts_are_a_ring_by_count_bytes_and_age(store: PairStore, caps: Caps, left: int) -> None:
    for number in range(10):
        store.file([filed(number, texts="x" * 100), filed(100 + number, at=900)], caps)
    kept = [one.number for one in store.newest("chat") if one.texts is not None]
    assert len(kept) == left
    assert kept == sorted(kept, reverse=True)[:left]
    assert len(numbers(store)) == 20


def test_it_outlives_the_process(url: str) -> None:
    for number in range(3):
        store = make_pair_store(url)
        store.file([filed(number, texts="t")], Caps(texts=2))
        store.close()
    store = make_pair_store(url)
    assert [kept.texts for kept in store.newest("chat")] == ["t", "t", None]
    store.close()


def test_several_file_at_once_and_nothing_is_lost_or_there_twice(url: str) -> None:
    def write(who: int) -> None:
        mine = make_pair_store(url)
        for number in range(20):
            batch = [filed(who * 1000 + number * 2 + more) for more in range(2)]
            mine.file(batch, Caps())
            mine.file(batch, Caps())
        mine.close()

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    store = make_pair_store(url)
    kept = store.records("chat", 0, 1000)
    assert [one.number for one in kept] == list(range(1, 161))
    assert len({one.record for one in kept}) == 160
    store.close()


def test_a_damaged_file_says_so_and_works_again_once_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "store.db.pairs"
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    store = make_pair_store(f"sqlite:///{tmp_path / 'store.db'}")
    with pytest.raises(StoreError, match=r"store\.db\.pairs: damaged"):
        store.file([filed(1)], Caps())
    path.unlink()
    store.file([filed(1)], Caps())
    assert numbers(store) == [1]
    store.close()
