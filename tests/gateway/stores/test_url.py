"""Which URLs lead to a store, and what is said of the others, which never is a password."""

from pathlib import Path

import pytest

from gateway.stores.protocols import StoreError
from gateway.stores.redis import RedisStore
from gateway.stores.sqlite import SqliteStore
from gateway.stores.url import RedisUrl, check_url, make_store, parse_redis, shown

SINGLE = RedisUrl("single", (("h", 6379),), False, "", 0, None, None, None, "understudy", None)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", SINGLE),
        ("redis://h:1/2", RedisUrl("single", (("h", 1),), False, "", 2, None, None, None, "understudy", None)),
        (
            "rediss://u%3A:p%40%2F%3A@[::1]:7/0?prefix=a.b&ca_file=/x%20y",
            RedisUrl("single", (("::1", 7),), True, "", 0, "u:", "p@/:", None, "a.b", "/x y"),
        ),
        (
            "redis://:a/b?c#@h",
            RedisUrl("single", (("h", 6379),), False, "", 0, None, "a/b?c#", None, "understudy", None),
        ),
        (
            "redis+sentinel://:p@a,b:1/main/4?sentinel_password=s",
            RedisUrl("sentinel", (("a", 26379), ("b", 1)), False, "main", 4, None, "p", "s", "understudy", None),
        ),
        (
            "rediss+cluster://a,b:1/0",
            RedisUrl("cluster", (("a", 6379), ("b", 1)), True, "", 0, None, None, None, "understudy", None),
        ),
    ],
)
def test_the_parts_of_a_url(url: str, expected: RedisUrl) -> None:
    assert parse_redis(url) == expected
    check_url(url)
    store = make_store(url)
    assert isinstance(store, RedisStore)
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "expected sqlite:///PATH"),
        ("sqlite:///", "expected sqlite:///PATH"),
        ("sqlite://x", "expected sqlite:///PATH"),
        ("postgres://u:s3cret@h", "expected sqlite:///PATH"),
        ("redis:h", "expected sqlite:///PATH"),
        ("redis+tls://u:s3cret@h", "expected sqlite:///PATH"),
        ("redis://", "expected HOST:PORT, got ''"),
        ("redis://:s3cret@", "expected HOST:PORT, got '' in 'redis://***@'"),
        ("redis://:s3cret@h:0", "expected HOST:PORT, got 'h:0' in 'redis://***@h:0'"),
        ("redis://:s3cret@h:65536", "expected HOST:PORT"),
        ("redis://:s3cret@h:x", "expected HOST:PORT"),
        ("redis://:s3cret@a,b", "expected one HOST:PORT"),
        ("redis://:s3cret@h/x", "expected a database's number, got 'x'"),
        ("redis://h/-1", "expected a database's number"),
        ("redis+sentinel://:s3cret@h", "expected the name of a service"),
        ("redis+sentinel://h//1", "expected the name of a service"),
        ("redis+sentinel://h/main/x", "expected a database's number"),
        ("redis+cluster://:s3cret@h/1", "a cluster has only 0"),
        ("redis://h?password=s3cret", "expected the options prefix, ca_file, sentinel_password; got 'password'"),
        ("redis://h?prefix=", "prefix: expected 1 to 64"),
        ("redis://h?prefix={a}", "prefix: expected 1 to 64"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str, said: str) -> None:
    for look in (check_url, make_store):
        with pytest.raises(ValueError, match=r".") as caught:
            look(url)
        assert said in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_no_password_is_in_what_is_printed() -> None:
    url = "redis+sentinel://u:s3cret@h/main?sentinel_password=s3cret"
    assert "s3cret" not in repr(parse_redis(url))
    assert shown(url) == "redis+sentinel://***@h/main"
    assert shown("sqlite:///a@b") == "sqlite:///a@b"


def test_a_file(tmp_path: Path) -> None:
    store = make_store(f"sqlite:///{tmp_path / 'a.db'}")
    assert isinstance(store, SqliteStore)
    store.open()
    assert (tmp_path / "a.db").exists()
    store.close()


def test_without_the_redis_client_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith(("redis", "gateway.stores.redis"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(StoreError, match=r"pip install 'understudy\[redis\]'") as caught:
        make_store("redis://:s3cret@h")
    assert "s3cret" not in str(caught.value)
    make_store("sqlite:///x.db")
