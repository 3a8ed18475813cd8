"""What docs/control.md prints to be typed, typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.conftest import StartGateway
from tests.support.configs import two_upstreams
from tests.support.operating import KEYS, SRE
from tests.support.upstream import ScriptedUpstream

PAGE = Path(__file__).parents[2] / "docs" / "control.md"


def test_the_commands_of_the_page_work_as_printed(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    gateway = gateway_process({**two_upstreams(student, teacher, student_percent=5), **KEYS})
    (tmp_path / "gateway.log").symlink_to(gateway.log_file)
    (tmp_path / "route.yaml").write_text("{teacher: big, student: small}")
    first, *blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert "export UNDERSTUDY_URL=" in first
    env = {"UNDERSTUDY_URL": gateway.url, "UNDERSTUDY_KEY": "sre-key-secret"}
    aids = f"""set -euo pipefail
    understudy() {{ '{sys.executable}' -m gateway.cli "$@"; }}
    curl() {{ command curl --fail-with-body -sS "$@"; }}
    """
    script = aids + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=120, cwd=tmp_path, env={**os.environ, **env}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for printed in ("support-chat: student_percent 5 % -> 25 %", "nobody moves back.", "The trail is whole: "):
        assert printed in done.stdout
    assert "up to there nothing was rewritten" in done.stdout
    status = httpx2.get(f"{gateway.url}/admin/status", headers=SRE).json()
    assert [switch["route"] for switch in status["kill_switches"]] == [None]
