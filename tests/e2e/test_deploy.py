"""docs/deploy.md brings up two replicas and a Redis: its own commands, run as a new user runs them."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import free_port

ROOT = Path(__file__).parents[2]
MARK = "<!-- tests/e2e/test_deploy.py runs the blocks from here"
PORTS = ("9001", "9002", "6400", "8081", "8082")
FIVE_MINUTES = 300.0


def _commands() -> str:
    """The section's blocks, with ports that are free here."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    section = page[page.index(MARK) : page.index("\n## With Docker Compose")]
    script = "".join(re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
    for port in PORTS:
        assert port in script
        script = script.replace(port, str(free_port()))
    return re.sub(r"(?<=127\.0\.0\.1:)8080\b|(?<=ask )8080\b", str(free_port()), script)


@contextmanager
def _shell(script: str, directory: Path) -> Iterator[str]:
    """Run it in a shell, and yield what it said; what it left running is ended afterwards."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"))
    said = directory / "said"
    with said.open("wb") as output:
        shell = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=directory,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        code = shell.wait(FIVE_MINUTES)
        logs = "".join(f"\n== {log.name}\n{log.read_text()[-2000:]}" for log in (directory / "run").glob("*.log"))
        assert code == 0, said.read_text() + logs
        yield said.read_text()
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def test_the_pages_commands_bring_up_two_replicas(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    with _shell(_commands(), tmp_path) as said:
        assert "ready" in said
        assert "Live on all 2 replicas." in said
        assert "The store (redis) is up" in said
        assert re.findall(r"^x-understudy-upstream: (\w+)", said, re.MULTILINE) == ["small", "small"]
