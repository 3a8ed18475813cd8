"""What the benchmarks share: the tools compiled, servers started and stopped, costs read from /proc.

Everything here serves one aim, that two gateways are measured alike. The model server and the load generator are C
programs (`tools/`), so that they cost little beside what is measured; both stand on one core and the gateway under
test alone on another. Costs are read from the kernel's books for the process *and its children*, between the two
moments at which the load generator opens and closes its window.

Linux only (epoll, /proc). Only the standard library: a benchmark should run where the gateway does.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")


def build_tools() -> Path:
    """Compiles `tools/*.c` into the user's cache, once per version of the sources, and returns that folder."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not sys.platform.startswith("linux"):
        raise SystemExit("The benchmarks need Linux (epoll and /proc).")
    if compiler is None:
        raise SystemExit("The benchmarks need a C compiler: apt install gcc libc6-dev")
    sources = sorted((HERE / "tools").glob("*.c"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "understudy-bench" / digest
    cache.mkdir(parents=True, exist_ok=True)
    for source in sources:
        program = cache / source.stem
        if not program.exists():
            unfinished = program.with_suffix(f".{os.getpid()}")
            subprocess.run([compiler, "-O2", "-o", unfinished, source, "-lm"], check=True)
            unfinished.rename(program)
    return cache


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Cores:
    """Where things run: the tools on one core, the gateway under test on another. One core: nothing is pinned."""

    tools: frozenset[int]
    gateway: frozenset[int]

    @classmethod
    def choose(cls) -> Cores:
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            return cls(frozenset(allowed), frozenset(allowed))
        return cls(frozenset(allowed[:1]), frozenset(allowed[1:2]))


def spawn(argv: Sequence[str | Path], cores: Iterable[int], **options: Any) -> subprocess.Popen[str]:
    """Starts a program on these cores from its first instruction: runtimes size their thread pools by what they see."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        return subprocess.Popen([str(a) for a in argv], text=True, start_new_session=True, **options)
    finally:
        os.sched_setaffinity(0, before)


# ---- the kernel's books ----


def stat_fields(pid: int) -> list[str] | None:
    """/proc/PID/stat from field 3 on; the name before it may contain anything, hence the split at the last bracket."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def all_stats() -> dict[int, list[str]]:
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return {pid: fields for pid in pids if (fields := stat_fields(pid)) is not None}


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for pid, fields in all_stats().items():
        children.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of these processes and of children they have already waited for."""
    ticks = sum(sum(map(int, fields[11:15])) for pid in pids if (fields := stat_fields(pid)) is not None)
    return ticks / TICKS


def memory_kb(pids: Iterable[int], key: str = "VmRSS") -> int:
    """VmRSS or VmHWM (the peak of VmRSS), summed."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(f"{key}:"):
                    total += int(line.split()[1])
    return total


def tcp_sockets(pids: Iterable[int], *, local_port: int = 0, remote_port: int = 0) -> int:
    """How many TCP sockets, listening ones aside, these processes hold open with that port at their own or far end.

    A socket is theirs if one of their descriptors points at it. So one that was closed and lingers in TIME_WAIT does
    not count, and one that the peer closed and they forgot (CLOSE_WAIT) does.
    """
    inodes: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    inodes.add(os.readlink(descriptor.path).removeprefix("socket:[").removesuffix("]"))
    count = 0
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                _, local, remote, state, *_rest, inode = line.split()[:10]
                ports = int(local.rpartition(":")[2], 16), int(remote.rpartition(":")[2], 16)
                wanted = all(want in (0, port) for want, port in zip((local_port, remote_port), ports, strict=True))
                count += state != "0A" and wanted and inode in inodes
    return count


@dataclass(frozen=True)
class Neighbours:
    """CPU time that programs not ours took on the cores we use, to tell a noisy measurement from a quiet one.

    With that of the children they have waited for: a compiler or a test run comes and goes between two looks.
    """

    at: float
    used: Mapping[int, int]
    stolen: int

    @classmethod
    def now(cls, cores: frozenset[int]) -> Neighbours:
        ours = set(tree(os.getpid()))
        used = {
            pid: sum(map(int, fields[11:15]))
            for pid, fields in all_stats().items()
            if pid not in ours and int(fields[36]) in cores
        }
        lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
        stolen = sum(int(line[8]) for line in lines if line[0] in {f"cpu{core}" for core in cores})
        return cls(time.monotonic(), used, stolen)

    def since(self, earlier: Neighbours) -> float:
        """In cores, on average: 0.3 is 30 % of one core."""
        ticks = sum(max(0, used - earlier.used.get(pid, 0)) for pid, used in self.used.items())
        return (ticks + self.stolen - earlier.stolen) / TICKS / max(self.at - earlier.at, 1e-6)


# ---- servers ----


class NotReady(Exception):
    """A server that did not come up; says what it printed last."""


@dataclass
class Server:
    name: str
    port: int
    process: subprocess.Popen[str]
    log: Path

    def pids(self) -> list[int]:
        return tree(self.process.pid)

    def stop(self) -> None:
        """Asks, waits, insists; and clears away what is left of the session it leads, which only we started."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def get(self, path: str, timeout: float = 5) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def wait_ready(self, path: str, timeout: float, pause: float = 0.02) -> None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get(path)[0] == 200:
                    return
            time.sleep(pause)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise NotReady(f"{self.name} gave no 200 on {path} within {timeout:.0f} s. Its last words:\n{tail}")


@dataclass
class Bench:
    """A temporary folder and the servers in it; leaving the `with` block stops them all, also on Ctrl-C and SIGTERM."""

    cores: Cores = field(default_factory=Cores.choose)
    tools: Path = field(default_factory=build_tools)
    servers: list[Server] = field(default_factory=list)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-bench-"))
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        for server in reversed(self.servers):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        port: int,
        *,
        ready: str,
        cores: Iterable[int] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float = 30,
        pause: float = 0.02,
    ) -> Server:
        log = self.folder / f"{name}.log"
        with log.open("w") as out:
            process = spawn(
                argv,
                self.cores.gateway if cores is None else cores,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
            )
        server = Server(name, port, process, log)
        self.servers.append(server)
        server.wait_ready(ready, timeout, pause)
        return server

    def stop(self, server: Server) -> None:
        server.stop()
        self.servers.remove(server)

    def start_upstream(self, profile: str = "") -> Server:
        port = free_port()
        argument = f"{port}:{profile}" if profile else str(port)
        return self.start(
            "upstream", [self.tools / "upstream", argument], port, ready="/health", cores=self.cores.tools
        )

    def load(self, port: int, options: Mapping[str, object], watch: Server | None = None) -> Measured:
        """Runs the load generator to its end. `watch` is the server whose CPU time is read while the window is open."""
        argv: list[str | Path] = [self.tools / "load", f"127.0.0.1:{port}"]
        for key, value in options.items():
            argv += [f"--{key}"] if value is True else [f"--{key}", str(value)]
        pids = watch.pids() if watch else []
        quiet = Neighbours.now(self.cores.tools | self.cores.gateway)
        process = spawn(argv, self.cores.tools, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        began = ended = 0.0
        said: list[str] = []
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stderr:
                if line == "window open\n":
                    began = cpu_seconds(pids)
                elif line == "window closed\n":
                    ended = cpu_seconds(pids)
                else:
                    said.append(line.rstrip())
            output = process.stdout.read()
            if process.wait() != 0:
                raise SystemExit(f"The load generator failed: {' / '.join(said)}")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        noise = Neighbours.now(self.cores.tools | self.cores.gateway).since(quiet)
        return Measured(json.loads(output), ended - began, noise, said)


@dataclass(frozen=True)
class Measured:
    """One run of the load generator: its own line of JSON, and what the watched server spent during its window."""

    load: dict[str, Any]
    cpu_s: float
    neighbours: float
    said: list[str]

    @property
    def errors(self) -> dict[str, int]:
        return {kind: count for kind, count in self.load["errors"].items() if count}


def quiet_output(argv: Sequence[str | Path]) -> str:
    """What a command prints on stdout and stderr, stripped; "" if it cannot be run."""
    try:
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return (done.stdout + done.stderr).strip() if done.returncode == 0 else ""
