"""Split and export, killed at any point and run again, leave what they would have left undisturbed."""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from student_train.teachset import residual
from student_train.teachset.example import Example, Source
from student_train.teachset.export import export
from student_train.teachset.handling import Rules
from student_train.teachset.split import Shares, divide
from student_train.teachset.store import Entry, TeachingSet
from student_train.teachset.verify import verify
from tests.student_train.teachset.test_split import where

ROOT = Path(__file__).parents[3]
WORK = """
import sys
from pathlib import Path
from student_train.teachset.export import export
from student_train.teachset.split import Shares, divide
from student_train.teachset.store import TeachingSet
with TeachingSet.open(Path(sys.argv[1]), holdout=True) as teaching:
    print("open", flush=True)
    divide(teaching, Shares(0.5, 0.1, 0.1, 0.3)) if sys.argv[2] == "split" else export(teaching)
"""


def filled(path: Path, count: int = 1500) -> None:
    dice = random.Random(41)
    words = ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=dice.randint(3, 9))) for _ in range(3000)]
    TeachingSet.create(path).close()
    with TeachingSet.open(path) as teaching:
        examples = [
            Example(
                teaching.pseudonym(f"{n}"),
                Source("real_trace", f"request-{n}", "support", 1.0),
                ({"role": "user", "content": " ".join(dice.choices(words, k=30))},),
                person=teaching.person("acme", f"{dice.randrange(count)}"),
                gold="yes",
            )
            for n in range(count)
        ]
        teaching.add("example", [Entry(one.id, {}, msgspec.json.encode(one), one.person) for one in examples])


def kill_until_it_is_done(path: Path, what: str, whole_s: float) -> int:
    """How often it was killed before it could end."""
    dice = random.Random(7)
    killed = 0
    for share in [dice.random() for _ in range(6)] + [None]:
        argv = [sys.executable, "-c", WORK, str(path), what]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        if share is not None:
            time.sleep(share * whole_s)
            process.send_signal(signal.SIGKILL)
        code = process.wait()
        process.stdout.close()
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
    assert code == 0
    return killed


def test_a_split_that_was_killed_comes_out_the_same(tmp_path: Path) -> None:
    filled(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    begin = time.monotonic()
    with TeachingSet.open(tmp_path / "one", holdout=True) as teaching:
        divide(teaching, Shares(0.5, 0.1, 0.1, 0.3))
        expected = where(teaching)
    assert kill_until_it_is_done(tmp_path / "other", "split", time.monotonic() - begin) >= 3
    with TeachingSet.open(tmp_path / "other", holdout=True) as teaching:
        assert where(teaching) == expected
    assert len(set(expected.values())) > 3
    left = {file.name for file in (tmp_path / "other").iterdir()}
    assert left == {"holdout", "ledger.jsonl", "lock", "secret", "set.db"}
    assert verify(tmp_path / "other").problems == ()


def test_an_export_that_was_killed_comes_out_the_same(tmp_path: Path) -> None:
    filled(tmp_path / "one")
    with TeachingSet.open(tmp_path / "one", holdout=True) as teaching:
        divide(teaching, Shares(0.5, 0.1, 0.1, 0.3))
        assert residual.scan(teaching, Rules()).passed
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    begin = time.monotonic()
    with TeachingSet.open(tmp_path / "one") as teaching:
        first = export(teaching)
    assert kill_until_it_is_done(tmp_path / "other", "export", time.monotonic() - begin) >= 2
    with TeachingSet.open(tmp_path / "other") as teaching:
        again = export(teaching)
    assert (again.version.name, again.version.root, again.new) == (first.version.name, first.version.root, False)
    assert again.files == first.files
    assert [folder.name for folder in (tmp_path / "other" / "exports").iterdir()] == ["v1"]
    assert verify(tmp_path / "other").problems == ()
