"""`understudy store export|import`, between each kind of store and each other."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from gateway.cli import app
from gateway.stores.protocols import Note
from gateway.stores.url import make_store
from tests.gateway.stores.conftest import Place
from tests.gateway.stores.writing import OTHER, ROUTE, chain, write
from tests.support.redis import RedisServer


def run(*args: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["store", *map(str, args)], input=stdin)


@pytest.fixture
def exported(tmp_path: Path, place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a trail with 50 changes, which are read in three pieces."""
    monkeypatch.setattr(sys.modules["gateway.cli.store"], "_PAGE", 20)
    place.store().load(chain([ROUTE, OTHER] * 25))
    file = tmp_path / "trail.jsonl"
    result = run("export", file, "--store", place.url)
    assert result.exit_code == 0, result.output
    assert "50 changes, the last with hash" in result.stderr
    return file


@pytest.fixture(params=["sqlite", "redis"])
def target(request: pytest.FixtureRequest, tmp_path: Path, redis: RedisServer) -> str:
    number = abs(hash(tmp_path))
    return f"sqlite:///{tmp_path / 'other.db'}" if request.param == "sqlite" else f"{redis.url}?prefix=other-{number}"


def test_a_trail_moves_whole(exported: Path, place: Place, target: str) -> None:
    result = run("import", exported, "--store", target)
    assert result.exit_code == 0, result.output
    assert "50 changes added, 0 were there already" in result.stderr
    moved, original = make_store(target), place.store()
    assert moved.entries(0, 100) == original.entries(0, 100)
    assert moved.current() == original.current()
    write(moved)
    moved.close()
    assert "the store is ahead" in run("import", exported, "--store", target).stderr


def test_it_goes_through_a_pipe_and_again_does_nothing(exported: Path, place: Place, target: str) -> None:
    out = run("export", "-", "--store", place.url).stdout_bytes
    assert out == exported.read_bytes()
    assert [json.loads(line)["revision"] for line in out.splitlines()] == list(range(1, 51))
    for said in ("50 changes added, 0", "0 changes added, 50"):
        assert said in run("import", "-", "--store", target, stdin=out).stderr


def test_what_came_since_is_added(exported: Path, place: Place, target: str) -> None:
    run("import", exported, "--store", target)
    write(place.store())
    run("export", exported, "--store", place.url)
    assert "1 changes added, 50 were there already" in run("import", exported, "--store", target).stderr


def test_another_trail_is_refused_and_left_alone(exported: Path, target: str) -> None:
    other = make_store(target)
    change = write(other)
    result = run("import", exported, "--store", target)
    assert result.exit_code == 1
    assert "the store has another trail: its change 1 is not the one" in result.stderr
    assert other.entries(0, 10) == [change]
    other.close()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lines: lines[:5] + lines[6:], "revision 6: expected it after 5, got 7"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "revision 1"),
        (lambda lines: lines[1:], "revision 1"),
        (
            lambda lines: [*lines[:-1], lines[-1].replace(b"a quiet day", b"a rush hour")],
            "revision 50: the entry was",
        ),
        (lambda lines: [*lines[:7], b"{}\n", *lines[7:]], "line 8: expected an entry of a trail"),
        (lambda lines: [*lines, b"\xff\n"], "line 51"),
        (lambda lines: [*lines, b"[" * 100_000], "line 51"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_and_nothing_is_written(
    exported: Path, tmp_path: Path, spoil: object, said: str
) -> None:
    exported.write_bytes(b"".join(spoil(exported.read_bytes().splitlines(keepends=True))))  # type: ignore[operator]
    url = f"sqlite:///{tmp_path / 'new.db'}"
    result = run("import", exported, "--store", url)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "nothing was written" in result.stderr
    new = make_store(url)
    assert new.head()[0] == 0
    new.close()


def test_a_broken_trail_is_not_exported(own_redis: RedisServer, tmp_path: Path) -> None:
    store = make_store(own_redis.url)
    store.load(chain([ROUTE] * 5))
    with own_redis.client() as client:
        text = client.hget("{understudy}:trail", "3")
        client.hset("{understudy}:trail", "3", text.replace("sre", "err"))
    file = tmp_path / "trail.jsonl"
    file.write_text("an older export")
    result = run("export", file, "--store", own_redis.url)
    assert result.exit_code == 1
    assert "the trail is broken: revision 3: the entry was changed" in result.stderr
    assert file.read_text() == "an older export"
    assert list(tmp_path.glob("*.part")) == []


def test_what_cannot_be_used_is_said_without_a_password(tmp_path: Path) -> None:
    file = tmp_path / "trail.jsonl"
    for command in ("export", "import"):
        if command == "import":
            file.write_text("")
        for url, said in (("redis://:s3cret@127.0.0.1:1", "cannot be reached"), ("x://:s3cret@h", "expected sqlite")):
            result = run(command, file, "--store", url)
            assert result.exit_code == 1
            assert said in result.stderr
            assert "s3cret" not in result.output
    assert "nothing was ever changed" in run("export", file, "--store", f"sqlite:///{tmp_path / 'a.db'}").stderr
    assert "cannot be read" in run("import", tmp_path / "none", "--store", f"sqlite:///{tmp_path / 'a.db'}").stderr
    assert run("export", file, "--config", tmp_path / "none.yaml").exit_code == 1


def test_the_store_of_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(
        f"store: sqlite:///{tmp_path / 'a.db'}\n"
        "upstreams: {big: {base_url: http://127.0.0.1:1/v1, model: m}}\n"
        "routes: {chat: {teacher: big, student: big}}\n"
    )
    store = make_store(f"sqlite:///{tmp_path / 'a.db'}")
    write(store)
    store.close()
    result = run("export", tmp_path / "trail.jsonl", "-c", config)
    assert result.exit_code == 0, result.output
    assert "1 changes" in result.stderr


def test_how_rollouts_stand_moves_too_and_what_stands_there_stays(tmp_path: Path, place: Place, target: str) -> None:
    """Otherwise a bad student could be tried until it is lucky: a move would forget the attempts."""
    assert ROUTE.kind == "route"
    name, file = f"rollout:{ROUTE.name}", tmp_path / "trail.jsonl"
    source = place.store()
    source.load(chain([ROUTE, OTHER]))
    for version in (1, 2):
        assert source.note(name, Note(version, json.dumps({"attempt": version, "é": "\n"})))
    assert run("export", file, "--store", place.url).exit_code == 0
    result = run("import", file, "--store", target)
    assert result.exit_code == 0, result.output
    moved = make_store(target)
    assert moved.noted(name) == Note(1, json.dumps({"attempt": 2, "é": "\n"}))
    assert moved.note(name, Note(2, "went on"))
    assert run("import", file, "--store", target).exit_code == 0
    assert moved.noted(name) == Note(2, "went on")
    moved.close()


def test_a_note_that_is_none_changes_nothing(exported: Path, target: str) -> None:
    exported.write_bytes(exported.read_bytes() + b'{"note": 5}\n{"note":"rollout:chat","text":5}\n')
    result = run("import", exported, "--store", target)
    assert result.exit_code == 1
    assert "nothing was written" in result.stderr
    other = make_store(target)
    assert other.head()[0] == 0
    other.close()
