"""A real vLLM as a server process that can be killed, for benchmarks. The environment it runs in is the caller's."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import harness

from gateway.engines import ServerProcess, answers


class Vllm(ServerProcess):
    """`vllm serve` of one model directory on this machine's CPU: three processes and 3 GB of memory."""

    def __init__(self, program: Path, model: Path, alias: str, log_file: Path) -> None:
        super().__init__(f"engine {alias}", log_file)
        self.alias = alias
        self._port = harness.free_port()
        self._serve = [str(program), "serve", str(model), f"--served-model-name={alias}", f"--port={self._port}"]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def command(self) -> list[str]:
        settings = ["VLLM_CPU_KVCACHE_SPACE=1", "OMP_NUM_THREADS=1", "HF_HUB_OFFLINE=1"]
        limits = ["--host=127.0.0.1", "--dtype=float32", "--enforce-eager", "--max-model-len=1024"]
        program = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
        return ["-c", program, "env", *settings, *self._serve, *limits]

    def ready(self) -> bool:
        return answers(f"http://127.0.0.1:{self._port}/health")

    def kill(self) -> None:
        """The whole group: its workers would outlive it and keep their memory."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            super().kill()

    def stop(self, grace: float = 0.0) -> int:
        """As `kill`: asked politely, it waits for streams that nobody reads."""
        self.kill()
        return 0

    def kill_core(self) -> None:
        """Only the process that computes; the HTTP server is left to tell its clients."""
        os.kill(self._child_named("EngineCore"), signal.SIGKILL)

    def _child_named(self, name: str) -> int:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                parent = int(stat.read_text().rpartition(")")[2].split()[1])
                if parent == self.pid and name in (stat.parent / "cmdline").read_text():
                    return int(stat.parent.name)
        raise RuntimeError(f"vLLM {self.pid} has no child process {name}: this release names it otherwise")
