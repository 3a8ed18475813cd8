"""What is Redis's own: URLs that lead to it, how it is found, what is said of its settings."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

import gateway.stores.redis
import gateway.stores.redis_link
from gateway.control.trail import verify
from gateway.stores.protocols import Bucket, Member, Store, StoreError
from gateway.stores.url import make_store
from tests.gateway.stores.writing import ROUTE, chain, write
from tests.support.processes import free_port
from tests.support.redis import DURABLE, RedisServer, redis_server, valkey_program


def use_all(store: Store) -> None:
    write(store)
    store.load(chain([ROUTE] * 2)[:0])
    store.share("r", [Bucket("b", 10, 1, 1)], {"b": 1}, 5)
    lease = store.acquire("l", "r", 5)
    assert lease is not None
    assert store.renew(lease, 5)
    store.report(Member("r", "host", "0.1", 1.0, 0, 1.0, False, 0), 5)
    assert len(store.members()) == 1
    assert store.history(ROUTE)[0] == store.current().changes[ROUTE]
    assert verify(store.entries(0, 100)) == store.head()
    store.wait(0, 1)


def comes_back(store: Store, seconds: float) -> None:
    """Changes are taken again within this time, with the same store."""
    deadline = monotonic() + seconds
    while True:
        try:
            use_all(store)
            return
        except StoreError:
            if monotonic() > deadline:
                raise
            sleep(0.1)


def test_all_keys_carry_the_tag(own_redis: RedisServer) -> None:
    store = make_store(f"{own_redis.url}?prefix=mine")
    use_all(store)
    store.close()
    with own_redis.client() as client:
        keys = client.keys()
        assert len(keys) == 9
        assert all(key.startswith("{mine}:") for key in keys)
        assert client.ttl("{mine}:bucket:b") > 0
        assert client.ttl("{mine}:held:b") > 0
        assert client.ttl("{mine}:trail") == client.ttl("{mine}:lease:l") == -1


def test_gateways_with_a_prefix_and_database_each_do_not_meet(own_redis: RedisServer) -> None:
    stores = [make_store(own_redis.url + rest) for rest in ("", "/3", "?prefix=a", "/3?prefix=a")]
    for number, store in enumerate(stores, start=1):
        for _ in range(number):
            write(store)
    assert [store.head()[0] for store in stores] == [1, 2, 3, 4]
    for store in stores:
        store.close()


def test_a_trail_of_a_newer_version_is_left_alone(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("{understudy}:schema", 99)
        with pytest.raises(StoreError, match=r"newer Understudy \(schema 99\)"):
            make_store(own_redis.url).open()
        client.set("{understudy}:schema", 1)
        store = make_store(own_redis.url)
        write(store)
        client.set("{understudy}:schema", 99)  # while it is in use
        with pytest.raises(StoreError):
            write(store)
        assert client.hlen("{understudy}:trail") == 1


def test_an_older_one_is_brought_up_once(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(own_redis.url)
    write(store)
    store.close()
    migrations = (*gateway.stores.redis_link.MIGRATIONS, "redis.call('INCR', 'brought up')")
    for module in (gateway.stores.redis, gateway.stores.redis_link):
        monkeypatch.setattr(module, "MIGRATIONS", migrations)
    for _ in range(2):
        store = make_store(own_redis.url)
        write(store)
        store.close()
    with own_redis.client() as client:
        assert client.get("brought up") == "1"
        assert client.get("{understudy}:schema") == "2"


def test_a_missing_or_damaged_entry_is_said(own_redis: RedisServer) -> None:
    store = make_store(own_redis.url)
    for _ in range(3):
        write(store)
    with own_redis.client() as client:
        client.hset("{understudy}:trail", "3", "{}")
        with pytest.raises(StoreError, match="damaged"):
            store.entries(0, 10)
        client.hdel("{understudy}:trail", "2")
        with pytest.raises(StoreError, match="revision 2 is missing"):
            store.entries(0, 10)
    store.close()


def test_passwords_are_shown_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    documented = "~{understudy}:* &{understudy}:* +@all -@dangerous +info +config|get"
    assert documented in (Path(__file__).parents[3] / "docs" / "stores.md").read_text().replace("NAME", "understudy")
    rights = f"resetkeys resetchannels {documented}"
    acl = f"user default off\nuser gate on >s3cret/@word {rights}\nuser blind on >s3cret ~* &* +@all -info -config\n"
    with redis_server(tmp_path, DURABLE + acl) as server:
        where = f"127.0.0.1:{server.port}"
        right = make_store(f"redis://gate:s3cret%2F%40word@{where}")
        use_all(right)
        right.close()
        for login in ("gate:wrong-s3cret", ":wrong-s3cret", "nobody:wrong-s3cret", ""):
            with pytest.raises(StoreError, match="does not let the gateway in") as caught:
                make_store(f"redis://{login}{'@' if login else ''}{where}").open()
            assert "s3cret" not in str(caught.value)
            assert where in str(caught.value)
        blind = make_store(f"redis://blind:s3cret@{where}?prefix=blind")
        use_all(blind)
        assert ["INFO is not allowed" in said for said in blind.warnings()] == [True]
        blind.close()
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (DURABLE, None),
        ("appendonly no", "appendonly is off"),
        ("appendonly yes\nappendfsync everysec", "appendfsync is everysec"),
        (DURABLE + "maxmemory 100mb\nmaxmemory-policy allkeys-lru", "maxmemory-policy is allkeys-lru"),
        (DURABLE + "maxmemory 100mb\nmaxmemory-policy noeviction", None),
        (DURABLE + 'rename-command CONFIG ""', "appendfsync cannot be read"),
    ],
)
def test_settings_that_may_lose_changes_are_warned_of(tmp_path: Path, config: str, said: str | None) -> None:
    with redis_server(tmp_path, config) as server:
        store = make_store(server.url)
        warnings = store.warnings()
        write(store)
        store.close()
    assert [said in warning for warning in warnings] == ([True] if said else [])


def until(true: Callable[[], bool], seconds: float = 15) -> None:
    deadline = monotonic() + seconds
    while not true():
        assert monotonic() < deadline
        sleep(0.05)


def test_where_the_server_can_confirm_that_its_disk_has_a_change_it_is_asked_to(tmp_path: Path) -> None:
    config = "appendonly yes\nappendfsync everysec\n"
    with redis_server(tmp_path / "valkey", config, program=valkey_program()) as server, server.client() as admin:
        store = make_store(server.url)
        assert store.warnings() == []
        for _ in range(3):
            write(store)
        assert admin.info("commandstats")["cmdstat_waitaof"]["calls"] == 3
        admin.config_set("appendonly", "no")
        write(store)
        assert admin.info("commandstats")["cmdstat_waitaof"]["calls"] == 3
        assert ["appendonly is off" in warning for warning in store.warnings()] == [True]
        store.close()


def test_a_primary_that_goes_on_alone_is_warned_of(own_redis: RedisServer, tmp_path: Path) -> None:
    store = make_store(own_redis.url)
    assert store.warnings() == []
    with redis_server(tmp_path / "replica") as replica, own_redis.client() as admin:
        replica.follow(own_redis)
        assert ["min-replicas-to-write is 0" in warning for warning in store.warnings()] == [True]
        admin.config_set("min-replicas-to-write", 1)
        assert store.warnings() == []
        write(store)
        replica.kill()
        until(lambda: admin.info("replication")["connected_slaves"] == 0)
        with pytest.raises(StoreError, match="NOREPLICAS"):
            write(store)
        assert store.head()[0] == 1
    store.close()


def listeners(server: RedisServer) -> list[str]:
    with server.client() as admin:
        return [each["id"] for each in admin.client_list(_type="pubsub")]


def test_a_lost_message_costs_half_a_second(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, writing = make_store(own_redis.url), make_store(own_redis.url)
    waiting.wait(0, 0.1)
    before = listeners(own_redis)
    assert len(before) == 1
    with monkeypatch.context() as patched:
        silent = gateway.stores.redis.APPEND.replace("'PUBLISH', ARGV[4]", "'PUBLISH', 'elsewhere'")
        patched.setattr(gateway.stores.redis, "APPEND", silent)
        writer = threading.Timer(0.1, lambda: write(writing))
        writer.start()
        began = monotonic()
        waiting.wait(0, 5)
        assert 0.1 <= monotonic() - began < 1.2
        writer.join()
    waiting.wait(1, 0.1)
    assert len(set(listeners(own_redis)) - set(before)) == 1  # it does not trust the old connection any more
    waiting.close()
    writing.close()


def test_a_listening_connection_that_breaks_is_no_failure_of_the_store(own_redis: RedisServer) -> None:
    waiting, writing = make_store(own_redis.url), make_store(own_redis.url)
    writing.open()
    failed: list[Exception] = []

    def wait() -> None:
        try:
            waiting.wait(0, 5)
        except StoreError as error:
            failed.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    until(lambda: bool(listeners(own_redis)))
    with own_redis.client() as admin:
        admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    sleep(0.1)
    write(writing)
    waiter.join(1.5)
    assert not waiter.is_alive()
    assert failed == []
    waiting.wait(1, 0.1)
    assert len(listeners(own_redis)) == 1
    waiting.close()
    writing.close()


@contextmanager
def sentinels(primary: RedisServer, directory: Path) -> Iterator[list[RedisServer]]:
    config = (
        f"sentinel monitor main 127.0.0.1 {primary.port} 2\n"
        "sentinel down-after-milliseconds main 1000\n"
        "sentinel failover-timeout main 3000\n"
    )
    with ExitStack() as running:
        yield [
            running.enter_context(redis_server(directory / f"sentinel-{number}", config, "--sentinel"))
            for number in range(3)
        ]


def knows_all(sentinel: RedisServer) -> bool:
    with sentinel.client() as asked:
        known = asked.sentinel_master("main")
    return bool(known["num-slaves"] == 1 and known["num-other-sentinels"] == 2)


def test_sentinels_lead_to_the_primary_and_to_the_next(own_redis: RedisServer, tmp_path: Path) -> None:
    with redis_server(tmp_path / "replica") as replica, sentinels(own_redis, tmp_path) as watching:
        replica.follow(own_redis)
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in watching)
        store = make_store(f"redis+sentinel://{hosts}/main")
        use_all(store)
        with pytest.raises(StoreError, match=r"no sentinel names a primary.*nobody|nobody.*no sentinel names"):
            make_store(f"redis+sentinel://{hosts}/nobody").open()
        until(lambda: all(knows_all(server) for server in watching))
        own_redis.kill()
        with pytest.raises(StoreError):
            write(store)
        comes_back(store, 30)
        watching[0].kill()
        store.close()
        again = make_store(f"redis+sentinel://{hosts}/main")
        use_all(again)
        again.close()
        with replica.client() as client:
            assert client.info("replication")["role"] == "master"
            assert client.hlen("{understudy}:trail") >= 3


@contextmanager
def cluster(directory: Path) -> Iterator[list[RedisServer]]:
    """Two nodes with half of the slots each, and a replica of the one that has those of {understudy}, the first."""
    config = DURABLE + "cluster-enabled yes\ncluster-node-timeout 1000\ncluster-require-full-coverage no\n"
    with ExitStack() as running:
        buses = [free_port() for _ in range(3)]
        nodes = [
            running.enter_context(redis_server(directory / f"node-{bus}", f"{config}cluster-port {bus}\n"))
            for bus in buses
        ]
        first, second, replica = (running.enter_context(node.client()) for node in nodes)
        slot = first.cluster("KEYSLOT", "{understudy}")
        low, high = (first, second) if slot < 8192 else (second, first)
        low.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
        high.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            first.execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        until(lambda: all(node.cluster("INFO")["cluster_known_nodes"] == "3" for node in (first, second, replica)))
        until(lambda: all(node.cluster("INFO")["cluster_state"] == "ok" for node in (first, second, replica)))
        replica.cluster("REPLICATE", first.cluster("MYID"))
        until(lambda: replica.info("replication").get("master_link_status") == "up")
        yield nodes


def test_a_cluster_leads_to_the_node_that_has_the_keys_and_to_the_next(tmp_path: Path) -> None:
    with cluster(tmp_path) as (owner, other, replica):
        stores = [
            make_store(f"redis+cluster://127.0.0.1:{first.port},127.0.0.1:{then.port}")
            for first, then in ((owner, other), (other, owner), (replica, other))
        ]
        for store in stores:
            use_all(store)
        assert len({store.head() for store in stores}) == 1
        with replica.client() as admin:
            while admin.info("replication")["role"] != "master":  # once may be too early: not all know it as a replica
                admin.cluster("FAILOVER")
                sleep(1)
        for store in stores:
            comes_back(store, 10)
        owner.kill()
        for store in stores:
            comes_back(store, 10)
            store.close()
        with replica.client() as client:
            assert client.hlen("{understudy}:trail") >= 9


def test_who_may_not_send_messages_still_writes_and_is_told(own_redis: RedisServer) -> None:
    """Redis 7 gives a new user no channels. What the script wrote before it would publish stays written."""
    with own_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "gateway", "on", ">secret", "~*", "+@all")
    store = make_store(f"redis://gateway:secret@127.0.0.1:{own_redis.port}/0")
    write(store)
    assert store.head()[0] == 1
    began = monotonic()
    store.wait(1, 0.6)
    assert monotonic() - began >= 0.5
    assert ["messages on {understudy}:changes are not allowed" in warning for warning in store.warnings()] == [True]
    store.close()


def test_a_client_that_another_thread_lets_go_of_takes_no_listener_with_it(own_redis: RedisServer) -> None:
    store = make_store(own_redis.url)
    assert isinstance(store, gateway.stores.redis.RedisStore)
    store.open()
    link = store._link
    cut_off = gateway.stores.redis.redis.ConnectionError("cut off")
    thread = threading.Timer(0.2, lambda: link.forget_if_lost(cut_off))
    thread.start()
    store.wait(0, 1.0)
    thread.join()
    write(store)
    store.wait(0, 1.0)
    store.close()
