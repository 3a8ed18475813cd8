"""A teaching set on disk: what is added is there, is told, and survives a kill at any point."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from student_train.teachset.store import Entry, SetError, TeachingSet
from student_train.teachset.store_file import Writing
from student_train.teachset.verify import root, verify


def entry(number: int, text: str = "", **about: str) -> Entry:
    return Entry(f"{number:04}", dict(about), (text or f"text {number}").encode(), person=f"person-{number % 3}")


def test_what_is_added_is_there_once(tmp_path: Path) -> None:
    with TeachingSet.create(tmp_path / "set") as teaching:
        assert teaching.add("example", [entry(n) for n in range(2500)]) == 2500
        assert teaching.add("example", [entry(n) for n in range(2510)]) == 10
        assert teaching.add("example", [entry(3, "other")]) == 0
        assert teaching.get("example", "0003") == b"text 3"
        assert teaching.add("example", [entry(3, "other"), entry(4)], replace=True) == 1
        assert teaching.get("example", "0003") == b"other"
        assert [id_ for id_, _ in teaching.payloads("example")] == [f"{n:04}" for n in range(2510)]
        assert teaching.of_person("person-1") == [f"{n:04}" for n in range(1, 2510, 3)]
    found = verify(tmp_path / "set")
    assert (found.problems, found.records, found.entries) == ((), 2510, 2511)


def test_one_process_at_a_time_and_clear_refusals(tmp_path: Path) -> None:
    with pytest.raises(SetError, match="teachset init"):
        TeachingSet.open(tmp_path / "none")
    with TeachingSet.create(tmp_path / "set") as teaching:
        with pytest.raises(SetError, match="another process has this set open"):
            TeachingSet.open(tmp_path / "set")
        with pytest.raises(SetError, match="to put into train, got nobody"):
            teaching.assign([("nobody", "train")])
    with pytest.raises(SetError, match="found one"):
        TeachingSet.create(tmp_path / "set")
    assert os.stat(tmp_path / "set" / "secret").st_mode & 0o777 == 0o600


def test_the_holdout_is_apart(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with TeachingSet.create(path) as teaching:
        teaching.add("example", [entry(1), entry(2), entry(3, split="holdout"), entry(4, split="gold")])
        teaching.add("review", [Entry("0002/big/0/ann", {}, b"a review")])
        assert teaching.assign([("0001", "train"), ("0002", "holdout"), ("0003", "train")]) == 2
        assert (teaching.split_of("0003"), list(teaching.ids("holdout"))) == ("holdout", ["0002", "0003"])
        assert [teaching.get("example", f"000{n}") for n in (1, 2, 3)] == [b"text 1", None, None]
        with pytest.raises(SetError, match="protected"):
            list(teaching.examples("holdout"))
    for name in ("set.db", "ledger.jsonl"):
        held = (path / name).read_bytes()
        assert not any(text in held for text in (b"text 2", b"text 3", b"a review"))
    with TeachingSet.open(path, holdout=True) as teaching:
        assert teaching.get("example", "0003") == b"text 3"
        assert [id_ for id_, _ in teaching.payloads("example")] == ["0001", "0002", "0003", "0004"]
    assert verify(path).problems == ()


def test_erased_is_gone_from_disk_and_the_chain_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with TeachingSet.create(path) as teaching:
        teaching.add("example", [entry(n, f"secret-{n:04}-of") for n in range(300)])
        teaching.add("answer", [Entry(f"{n:04}/big/0", {}, f"answer-{n:04}-to".encode()) for n in range(300)])
        teaching.assign([(f"{n:04}", "holdout" if n % 2 else "train") for n in range(300)])
        before = root(path)
        assert teaching.erase(["0007", "0008"], {"why": "asked for"}) == 4
        assert teaching.split_of("0007") is None
        assert verify(path).problems == ()
    whole = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    for n in range(300):
        for text in (f"secret-{n:04}-of", f"answer-{n:04}-to"):
            assert (text.encode() in whole) is (n not in (7, 8))
    found = verify(path)
    assert (found.problems, found.erased, found.records) == ((), 4, 596)
    assert root(path) != before


def test_any_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with TeachingSet.create(path) as teaching:
        teaching.add("example", [entry(n) for n in range(20)])
        teaching.assign([(f"{n:04}", "holdout" if n < 5 else "train") for n in range(20)])
        teaching.note("run", {"what": "a test"})
    whole = (path / "ledger.jsonl").read_bytes()
    pick = random.Random(4)
    for at in [*pick.sample(range(len(whole)), 150), len(whole) - 1]:
        changed = bytearray(whole)
        changed[at] ^= 1 << pick.randrange(8)
        (path / "ledger.jsonl").write_bytes(changed)
        assert verify(path).problems, f"byte {at} of the ledger"
    lines = whole.splitlines(keepends=True)
    for other in (
        lines[:-1],
        lines[1:],
        [*lines[:3], *lines[4:]],
        [lines[1], lines[0], *lines[2:]],
        [*lines, lines[-1]],
    ):
        (path / "ledger.jsonl").write_bytes(b"".join(other))
        assert verify(path).problems
    (path / "ledger.jsonl").write_bytes(whole)
    assert verify(path).problems == ()
    for name, text in (("set.db", b"text 12"), ("holdout/holdout.db", b"text 3"), ("set.db", b"person-1")):
        database = (path / name).read_bytes()
        for at in range(len(text)):
            changed = bytearray(database)
            changed[database.index(text) + at] ^= 1
            (path / name).write_bytes(changed)
            assert verify(path).problems, f"byte {at} of {text!r}"
        (path / name).write_bytes(database)
    assert verify(path).problems == ()


WRITER = """
import sys
from pathlib import Path
from student_train.teachset.store import TeachingSet
from tests.student_train.teachset.test_store import entry
with TeachingSet.open(Path(sys.argv[1])) as teaching:
    for start in range(0, 70_000, 7):
        teaching.add("example", [entry(n) for n in range(start, start + 7)])
        teaching.assign([(f"{n:04}", "holdout" if n % 5 == 0 else "train") for n in range(start, start + 7)])
"""


def test_killed_at_any_point_it_is_whole_and_ends_up_the_same(tmp_path: Path) -> None:
    path = tmp_path / "set"
    TeachingSet.create(path).close()
    pick = random.Random(11)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        time.sleep(pick.uniform(0.25, 0.6))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        TeachingSet.open(path).close()  # puts right what the kill left
        assert verify(path).problems == ()
    with TeachingSet.open(path) as teaching:
        whole = -(-teaching.sizes().get("example", 0) // 500) * 500 + 500
        for start in range(0, whole, 500):
            teaching.add("example", [entry(n) for n in range(start, start + 500)])
            teaching.assign([(f"{n:04}", "holdout" if n % 5 == 0 else "train") for n in range(start, start + 500)])
        assert [id_ for id_, _ in teaching.payloads("example")] == sorted(f"{n:04}" for n in range(whole) if n % 5)
        assert len(list(teaching.ids("holdout"))) == whole / 5
    found = verify(path)
    assert (found.problems, found.records) == ((), whole)


def test_half_a_line_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with TeachingSet.create(path) as teaching:
        teaching.add("example", [entry(n) for n in range(5)])
        teaching._db.execute("BEGIN")  # what a kill leaves: lines in the database, and part of them in the file
        seq = teaching._tell({"kind": "run", "about": {}})
        teaching._tell({"kind": "run", "about": {"more": "of it"}})
        teaching._db.execute("COMMIT")
        line = teaching._db.execute("SELECT line FROM outbox WHERE seq = ?", (seq,)).fetchone()[0]
    for torn in (line[:20], line, line + line[:3], b""):
        whole = (path / "ledger.jsonl").read_bytes()
        with (path / "ledger.jsonl").open("ab") as file:
            file.write(torn)
        saved = {name: (path / name).read_bytes() for name in ("set.db",)}
        TeachingSet.open(path).close()
        assert verify(path).problems == ()
        (path / "ledger.jsonl").write_bytes(whole)
        for name, content in saved.items():
            (path / name).write_bytes(content)


class Killed(BaseException):
    """Stands for a kill between the two databases: what one has is on disk, what the other has not is lost."""


def killed_between(path: Path, work: Callable[[TeachingSet], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Does the work, up to and with the first database's commit."""

    def leave(writing: Writing, kind: object, error: object, at: object) -> None:
        first, second = writing._both
        first.execute("COMMIT")
        second.execute("ROLLBACK")
        raise Killed

    teaching = TeachingSet.open(path, holdout=True)
    with monkeypatch.context() as patched:
        patched.setattr(Writing, "__exit__", leave)
        with pytest.raises(Killed):
            work(teaching)
    teaching.close()


def test_killed_between_the_databases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "set"
    steps: list[tuple[Callable[[TeachingSet], object], bytes | None, bytes | None]] = [
        (lambda one: one.add("example", [entry(1, "first of all", split="holdout")]), None, b"first of all"),
        (lambda one: one.add("answer", [Entry("0001/big/0", {}, b"an answer")]), b"first of all", b"first of all"),
        (lambda one: one.add("example", [entry(1, "other text")], replace=True), b"first of all", b"other text"),
        (lambda one: one.erase(["0001"], {"why": "asked for"}), None, None),
        (lambda one: one.add("example", [entry(2, "moves over")]), None, None),
        (lambda one: one.assign([("0002", "holdout")]), None, None),
    ]
    TeachingSet.create(path).close()
    for work, between, after in steps:
        killed_between(path, work, monkeypatch)
        with TeachingSet.open(path, holdout=True) as teaching:
            found = verify(path)
            assert found.problems == ()
            assert teaching.get("example", "0001") == between
            work(teaching)
            assert teaching.get("example", "0001") == after
        assert verify(path).problems == ()
    with TeachingSet.open(path, holdout=True) as teaching:
        teaching.shred()
        assert teaching.get("example", "0002") == b"moves over"
        assert list(teaching.ids("holdout")) == ["0002"]
    whole = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())
    assert not any(text in whole for text in (b"first of all", b"other text", b"an answer"))
    assert whole.count(b"moves over") == 1
