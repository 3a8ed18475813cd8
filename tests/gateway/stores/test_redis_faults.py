"""The ways in which Redis fails, each a real one behind a proxy that fails: said in bounded time, never half done, and
over when it is over, without a restart."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep

import pytest

from gateway.control.trail import verify
from gateway.stores.protocols import Bucket, Lease, Member, OutcomeUnknown, Store, StoreError
from gateway.stores.url import make_store
from tests.gateway.stores.writing import sealed_on, write
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer, redis_server

BOUND_S = 2.6
MEMBER = Member("r", "host", "0.1", 1.0, 0, 1.0, False, 0)
OPERATIONS: dict[str, Callable[[Store], object]] = {
    "head": lambda store: store.head(),
    "current": lambda store: store.current(),
    "entries": lambda store: store.entries(0, 10),
    "wait": lambda store: store.wait(10**6, 5),
    "share": lambda store: store.share("r", [Bucket("b", 10, 1, 1)], {"b": 1}, 5),
    "acquire": lambda store: store.acquire("l", "r", 5),
    "renew": lambda store: store.renew(Lease("l", "r", 1), 5),
    "report": lambda store: store.report(MEMBER, 5),
    "members": lambda store: store.members(),
    "warnings": lambda store: store.warnings(),
}


@pytest.fixture
def proxy(own_redis: RedisServer) -> Iterator[Proxy]:
    with Proxy(own_redis.port) as proxy:
        yield proxy


@pytest.fixture
def store(proxy: Proxy) -> Iterator[Store]:
    """One that is in use already: a change is made, and connections are open."""
    store = make_store(f"redis://127.0.0.1:{proxy.port}")
    write(store)
    store.share("r", [Bucket("b", 10, 1, 1)], {"b": 1}, 5)
    yield store
    proxy.delay_s = 0
    store.close()


def failing(do: Callable[[], object]) -> StoreError:
    """What it is refused with, in bounded time."""
    began = monotonic()
    with pytest.raises(StoreError) as caught:
        do()
    assert monotonic() - began < BOUND_S
    return caught.value


def works(store: Store, server: RedisServer, revision: int) -> None:
    """At once, with the same store; and what it then has is whole, as another that asks the server itself sees it."""
    assert write(store).revision == revision
    store.wait(revision - 1, 1)
    store.share("r", [Bucket("b", 10, 1, 1)], {"b": 1}, 5)
    direct = make_store(server.url)
    assert verify(direct.entries(0, 10**6)) == direct.head() == store.head()
    assert direct.head()[0] == revision
    direct.close()


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", ["refused", "black hole"])
def test_everything_fails_in_bounded_time(store: Store, proxy: Proxy, fault: str, operation: str) -> None:
    if fault == "refused":
        proxy.refuse()
    else:
        proxy.black_hole = True
    error = failing(lambda: OPERATIONS[operation](store))
    assert f"127.0.0.1:{proxy.port}" in str(error)
    assert ("cannot be reached" if fault == "refused" else "did not answer in time") in str(error)
    proxy.black_hole = False
    proxy.accept()
    if operation != "wait":
        OPERATIONS[operation](store)


def test_refused(store: Store, proxy: Proxy, own_redis: RedisServer) -> None:
    change = sealed_on(store)
    proxy.refuse()
    assert not isinstance(failing(lambda: store.append(change)), OutcomeUnknown)  # nothing was sent
    proxy.accept()
    works(store, own_redis, 2)


def test_black_holed(store: Store, proxy: Proxy, own_redis: RedisServer) -> None:
    change = sealed_on(store)
    proxy.black_hole = True
    assert not isinstance(failing(lambda: store.append(change)), OutcomeUnknown)  # the question before was not answered
    proxy.black_hole = False
    works(store, own_redis, 2)


def test_a_host_that_does_not_answer_at_all() -> None:
    """Its queue of connections to accept is full, so the kernel ignores more, as if packets were dropped."""
    with socket.socket() as listener, ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(2):
            filler = waiting.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        store = make_store(f"redis://127.0.0.1:{port}")
        assert "did not answer in time" in str(failing(store.head))
        store.close()


def test_slow_but_in_time(store: Store, proxy: Proxy, own_redis: RedisServer) -> None:
    proxy.delay_s = 0.3
    assert write(store).revision == 2
    proxy.delay_s = 0
    works(store, own_redis, 3)


def test_too_slow(store: Store, proxy: Proxy, own_redis: RedisServer) -> None:
    change = sealed_on(store)
    proxy.delay_s = 3
    failing(lambda: store.append(change))
    failing(store.head)
    proxy.delay_s = 0
    works(store, own_redis, 2)


@pytest.mark.parametrize("answer_bytes", [None, 0, 3])
def test_reset_while_an_entry_is_appended(
    store: Store, proxy: Proxy, own_redis: RedisServer, answer_bytes: int | None
) -> None:
    """Before the server has it; when it has it and nothing was answered; in mid-answer. It is there once each time."""
    change = sealed_on(store)
    proxy.trap(b"RPUSH", answer_bytes)
    began = monotonic()
    store.append(change)
    assert proxy.triggered.is_set()
    assert monotonic() - began < BOUND_S
    assert store.entries(1, 10) == [change]
    works(store, own_redis, 3)


@pytest.mark.parametrize(("answer_bytes", "there"), [(None, False), (0, True)])
def test_gone_while_an_entry_is_appended(
    store: Store, proxy: Proxy, own_redis: RedisServer, answer_bytes: int | None, there: bool
) -> None:
    """What became of it cannot be asked; it was made whole or not at all, and to append it again is right in both."""
    change = sealed_on(store)
    proxy.trap(b"RPUSH", answer_bytes)

    def go_away() -> None:
        proxy.triggered.wait(5)
        proxy.refuse()

    watcher = threading.Thread(target=go_away)
    watcher.start()
    error = failing(lambda: store.append(change))
    watcher.join()
    assert isinstance(error, OutcomeUnknown)
    assert "not known" in str(error)
    direct = make_store(own_redis.url)
    assert (direct.entries(1, 10) == [change]) is there
    assert direct.head()[0] == (2 if there else 1)
    direct.close()
    proxy.accept()
    store.append(change)
    assert store.entries(1, 10) == [change]
    works(store, own_redis, 3)


def test_an_entry_that_arrives_late_finds_that_the_head_has_moved(
    store: Store, proxy: Proxy, own_redis: RedisServer
) -> None:
    """The server stands still for longer than it is waited for, as while it forks or swaps."""
    change = sealed_on(store)
    with own_redis.client() as admin:
        admin.execute_command("CLIENT", "PAUSE", "2500", "WRITE")
        error = failing(lambda: store.append(change))
        assert isinstance(error, OutcomeUnknown)
        admin.execute_command("CLIENT", "UNPAUSE")
    sleep(0.3)
    assert store.entries(1, 10) in ([], [change])
    store.append(change)
    assert store.entries(1, 10) == [change]
    works(store, own_redis, 3)


def test_out_of_memory(store: Store, own_redis: RedisServer) -> None:
    change = sealed_on(store)
    with own_redis.client() as admin:
        admin.config_set("maxmemory", 1)
        error = failing(lambda: store.append(change))
        assert "out of memory" in str(error)
        assert not isinstance(error, OutcomeUnknown)
        assert "out of memory" in str(failing(lambda: store.share("r", [Bucket("b", 10, 1, 1)], {}, 5)))
        assert store.current().revision == 1  # what is there can be read
        admin.config_set("maxmemory", 0)
    works(store, own_redis, 2)


def test_a_disk_that_failed(store: Store, own_redis: RedisServer) -> None:
    """Redis refuses all writes when its last snapshot failed, as it does when it cannot write its log."""
    change = sealed_on(store)
    with own_redis.client() as admin:
        in_the_way = Path(admin.config_get("dir")["dir"], "dump.rdb")
        in_the_way.mkdir()
        admin.config_set("save", "3600 1")
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
            sleep(0.05)
        error = failing(lambda: store.append(change))
        assert "MISCONF" in str(error)
        assert not isinstance(error, OutcomeUnknown)
        assert store.current().revision == 1
        in_the_way.rmdir()
        admin.save()
    works(store, own_redis, 2)


def test_failing_over(store: Store, proxy: Proxy, own_redis: RedisServer, tmp_path: Path) -> None:
    """The server becomes a replica: it takes no writes, and where the URL leads there is another, after a while."""
    with redis_server(tmp_path / "other") as other, own_redis.client() as old, other.client() as new:
        other.follow(own_redis)
        change = sealed_on(store)
        new.replicaof("NO", "ONE")
        old.replicaof("127.0.0.1", other.port)
        error = failing(lambda: store.append(change))
        assert "replica" in str(error)
        assert not isinstance(error, OutcomeUnknown)
        proxy.target = other.port
        works(store, other, 2)


def test_a_change_that_no_replica_confirms_is_not_called_safe(
    store: Store, own_redis: RedisServer, tmp_path: Path
) -> None:
    with redis_server(tmp_path / "other") as other:
        other.follow(own_redis)
        assert write(store).revision == 2  # confirmed
        with other.client() as client:
            assert client.get("{understudy}:head").startswith("2 ")
        change = sealed_on(store)
        other.signal(signal.SIGSTOP)  # connected, and standing still
        error = failing(lambda: store.append(change))
        assert isinstance(error, OutcomeUnknown)
        assert "replica did not confirm" in str(error)
        again = make_store(own_redis.url)
        failing(lambda: again.append(change))  # nor when it is sent again, on a connection that wrote nothing yet
        again.close()
        assert store.entries(2, 10) == [change]
        other.signal(signal.SIGCONT)
        store.append(change)
    sleep(0.2)
    works(store, own_redis, 4)


def test_killed_and_started_again_while_many_append(own_redis: RedisServer) -> None:
    """Every change that was accepted is there, once, and the chain is whole."""
    command = [sys.executable, "-m", "tests.gateway.stores.writing", own_redis.url]
    writers = [
        subprocess.Popen([*command, f"p{n}", "100000", "8"], stdout=subprocess.PIPE, text=True) for n in range(3)
    ]
    for _ in range(3):
        sleep(1.5)
        own_redis.kill()
        sleep(0.4)
        own_redis.start()
    accepted = []
    for writer in writers:
        out, _ = writer.communicate(timeout=30)
        accepted += [line.split() for line in out.splitlines()]
    store = make_store(own_redis.url)
    found = store.entries(0, 10**6)
    assert verify(found) == store.head()
    hashes = {str(change.revision): change.hash for change in found}
    assert len(accepted) > 100
    assert len({revision for revision, _ in accepted}) == len(accepted)
    assert [hashes.get(revision) for revision, _ in accepted] == [sealed for _, sealed in accepted]
    works(store, own_redis, len(found) + 1)
    store.close()


def test_emptied_while_in_use(store: Store, own_redis: RedisServer) -> None:
    with own_redis.client() as admin:
        change = sealed_on(store)
        admin.flushall()
        assert "emptied" in str(failing(lambda: store.append(change)))
    works(store, own_redis, 1)
