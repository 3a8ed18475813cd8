"""Segments on a real disk: what is written can be read, what is lost is counted, what is old goes."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.after import segments
from gateway.after.sealing import HEADER, Seal
from gateway.after.segments import Run, expire, recovered, used

KEY = bytes(range(32))
LINES = [b'{"n":%d,"text":"%b"}\n' % (number, b"x" * (number % 50)) for number in range(500)]


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".jsonl", ".enc"))


def lines_in(folder: Path, key: bytes | None = None) -> list[bytes]:
    found: list[bytes] = []
    for path in files(folder):
        with path.open("rb") as file:
            found += file.readlines() if key is None else Seal(key).lines(file)
    return found


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_what_is_written_can_be_read_in_order_over_all_segments(tmp_path: Path, key: bytes | None) -> None:
    run = Run(tmp_path, key, 4096, len(LINES))
    for at in range(0, len(LINES), 30):
        run.append(LINES[at : at + 30])
    run.close()
    assert lines_in(tmp_path, key) == LINES
    assert len(files(tmp_path)) > 3
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path)} == {0o600}
    assert not list(tmp_path.glob("*.tally"))
    assert used(tmp_path) == sum(path.stat().st_size for path in files(tmp_path))


def test_a_sealed_segment_says_nothing_without_its_key_and_shows_what_was_changed(tmp_path: Path) -> None:
    run = Run(tmp_path, KEY, 10**6, 3)
    run.append([b'{"secret":"the moon"}\n', b"two\n", b"three\n"])
    run.close()
    (path,) = files(tmp_path)
    sealed = path.read_bytes()
    assert sealed.startswith(HEADER)
    assert b"moon" not in sealed
    with path.open("rb") as file, pytest.raises(ValueError, match="frame 0"):
        list(Seal(bytes(32)).lines(file))
    first = len(HEADER) + 4 + int.from_bytes(sealed[len(HEADER) : len(HEADER) + 4], "big")
    for changed in (
        sealed[:-1] + bytes([sealed[-1] ^ 1]),  # a bit
        HEADER + sealed[first:],  # the first one taken out
    ):
        path.write_bytes(changed)
        with path.open("rb") as file, pytest.raises(ValueError, match="frame"):
            list(Seal(KEY).lines(file))
    path.write_bytes(sealed[:-3])  # half written
    with path.open("rb") as file:
        assert list(Seal(KEY).lines(file)) == [b'{"secret":"the moon"}\n', b"two\n"]


def test_a_segment_ends_with_its_day_and_goes_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_791_187_200.0]  # 2026-10-05 08:00 UTC
    monkeypatch.setattr(segments, "time", lambda: now[0])
    run = Run(tmp_path, None, 10**6, 0)
    run.append([b"monday\n"])
    (first,) = files(tmp_path)
    now[0] += 86_400
    run.append([b"tuesday\n"])
    assert [path.read_bytes() for path in files(tmp_path)] == [b"monday\n", b"tuesday\n"]
    os.utime(first, (now[0] - 86_400, now[0] - 86_400))
    os.utime(files(tmp_path)[1], (now[0], now[0]))
    (tmp_path / "notes.jsonl").write_text("somebody's own\n")
    os.utime(tmp_path / "notes.jsonl", (0, 0))
    assert expire(tmp_path, 1.5) == 0
    now[0] += 0.6 * 86_400
    assert expire(tmp_path, 1.5) == 1
    assert [path.read_bytes() for path in files(tmp_path)] == [b"tuesday\n", b"somebody's own\n"]
    run.close()


def test_a_segment_that_somebody_took_away_is_followed_by_another(tmp_path: Path) -> None:
    run = Run(tmp_path, None, 10**6, 2)
    run.append([b"one\n"])
    (first,) = files(tmp_path)
    first.unlink()
    run.append([b"two\n"])
    run.close()
    assert lines_in(tmp_path) == [b"two\n"]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may become larger: writes are cut short, and then fail, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "sealed"])
def test_when_the_disk_is_full_no_line_is_halved_and_it_goes_on_where_it_was(tmp_path: Path, key: bytes | None) -> None:
    run = Run(tmp_path, key, 10**6, 100)
    run.append(LINES[:10])
    (path,) = files(tmp_path)
    with room_for(path.stat().st_size + 100):
        with pytest.raises(OSError, match="too large"):
            run.append(LINES[10:60])
        assert lines_in(tmp_path, key) == LINES[:10]
        assert run.written == 10
    run.append(LINES[10:60])
    run.close()
    assert lines_in(tmp_path, key) == LINES[:60]


def test_a_run_that_lives_is_no_run_that_was_killed(tmp_path: Path) -> None:
    run = Run(tmp_path, None, 10**6, 0)
    run.tally.owe(5)
    assert recovered(tmp_path) == {}
    assert len(list(tmp_path.glob("*.tally"))) == 1
    run.close()


CHILD = """
import os, sys
from pathlib import Path
from gateway.after import segments
from gateway.after.segments import Run

run = Run(Path(sys.argv[1]), bytes.fromhex(sys.argv[2]) or None, 2000, 0)
unnoted = sys.argv[3] == "unnoted"
paid = run.tally.paid
for number in range(1, 1000):
    run.tally.owe(3)
    if unnoted and number == 40:
        run.tally.paid = lambda *_: None  # killed between a write and its note
    lines = [b'{"n":%d,"of":%d}\\n' % (number, part) for part in range(2)]
    run.append(lines)
    run.tally.owe(-1)
    if number == 40:
        run.tally.owe(7)
        print("now", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["noted", "unnoted"])
@pytest.mark.parametrize("key", [b"", KEY], ids=["plain", "sealed"])
def test_what_a_killed_run_still_owed_is_counted_once(tmp_path: Path, key: bytes, how: str) -> None:
    """Eighty lines over several segments, and seven that were never written; then half of one more."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path), key.hex(), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"now\n"
    assert recovered(tmp_path) == {}
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with files(tmp_path)[-1].open("ab") as file:
        file.write(b"\0\0\1\0half" if key else b'{"n":')
    assert list(recovered(tmp_path).values()) == [7]
    assert recovered(tmp_path) == {}
    assert len(lines_in(tmp_path, key or None)) == 80 + (0 if key else 1)
