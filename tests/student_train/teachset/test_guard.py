"""Training cannot open the holdout: tried in a process that trains, in all the ways that a mistake takes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from student_train.teachset.example import Lesson, Target
from student_train.teachset.guard import TRAINABLE
from student_train.teachset.permit import (
    budget,
    certify,
    open_for_evaluation,
    permit,
    set_budget,
)
from student_train.teachset.split import Shares, divide
from student_train.teachset.store import Entry, SetError, TeachingSet
from student_train.teachset.verify import lines, verify
from tests.student_train.teachset.test_split import add, example, fresh, told

TRIES = """
import json, os, pathlib, shutil, sqlite3, subprocess, sys
from student_train.teachset.guard import open_for_training
from student_train.teachset.store import TeachingSet
path = sys.argv[1]
held = f"{path}/holdout/holdout.db"
os.link(held, f"{path}/../innocent.db")
os.symlink(f"{path}/holdout", f"{path}/../link")
opened = open(held, "rb")
opened.close()
with open_for_training(pathlib.Path(path), ("train", "dev")) as data:
    first = [example.id for example, _ in data]
os.chdir(f"{path}/..")
name = os.path.basename(path)
def into(): os.chdir(f"{path}/holdout"); open("holdout.db")
tries = dict(
    open=lambda: open(held),
    bytes=lambda: open(os.fsencode(held)),
    relative=lambda: open(f"{name}/exports/../holdout/holdout.db"),
    os_open=lambda: os.open(held, os.O_RDONLY),
    pathlib=lambda: pathlib.Path(held).read_bytes(),
    write=lambda: open(held, "wb"),
    hard_link=lambda: open("innocent.db"),
    symbolic_link=lambda: open("link/holdout.db"),
    linking=lambda: os.link(held, "other.db"),
    renaming=lambda: os.rename(held, "other.db"),
    copying=lambda: shutil.copy(held, "other.db"),
    listing=lambda: os.listdir(f"{path}/holdout"),
    globbing=lambda: next(os.scandir(f"{path}/holdout")),
    sqlite=lambda: sqlite3.connect(held),
    sqlite_uri=lambda: sqlite3.connect(f"file:{held}?mode=ro", uri=True),
    attached=lambda: sqlite3.connect(f"{path}/set.db").execute("ATTACH ? AS other", (held,)),
    program=lambda: subprocess.run(["cat", held]),
    shell=lambda: subprocess.run(f"cat {held}", shell=True),
    system=lambda: os.system(f"cat {held} > /dev/null"),
    secret=lambda: open(f"{path}/secret"),
    whole_set=lambda: TeachingSet.open(pathlib.Path(path), holdout=True),
    other_set=lambda: open_for_training(pathlib.Path(path), ("holdout",)),
    gold=lambda: open_for_training(pathlib.Path(path), ("gold",)),
    child=lambda: into(),
)
said = {}
for name_, one in tries.items():
    try:
        one()
        said[name_] = "opened"
    except Exception as error:
        said[name_] = type(error).__name__
os.chdir(f"{path}/..")
allowed = [open(f"{path}/ledger.jsonl").close(), open(__file__).close() if "__file__" in globals() else None]
os.makedirs(f"{path}/exports", exist_ok=True)
open(f"{path}/exports/mine", "w").close()
fork = os.fork()
if fork == 0:
    try:
        open(held)
    except PermissionError:
        os._exit(0)
    os._exit(1)
said["forked"] = "opened" if os.waitpid(fork, 0)[1] else "Refused"
with open_for_training(pathlib.Path(path), ("train", "dev")) as data:
    again = [example.id for example, _ in data]
print(json.dumps({"said": said, "first": first, "again": again}))
"""


def filled(path: Path) -> list[str]:
    """120 examples, divided; the ids of train, then dev."""
    with fresh(path) as teaching:
        add(teaching, [example(n, text) for n, text in enumerate(told(120, 30))])
        divide(teaching, Shares(train=0.4, dev=0.2, calibration=0.1, holdout=0.3))
        return [id_ for split in ("train", "dev") for id_ in teaching.ids(split)]


def test_training_cannot_open_the_holdout(tmp_path: Path) -> None:
    path = tmp_path / "set"
    trainable = filled(path)
    found = subprocess.run(
        [sys.executable, "-c", TRIES, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[3],
    )
    assert found.returncode == 0, found.stderr
    told_ = json.loads(found.stdout)
    assert told_["first"] == told_["again"] == trainable
    said = told_["said"]
    assert said.pop("attached") == "OperationalError"  # too many attached databases
    assert said == dict.fromkeys(said, "Refused")
    assert len(said) == 24
    assert verify(path).problems == ()
    with TeachingSet.open(path, holdout=True) as teaching:
        assert len(list(teaching.examples("holdout"))) > 10


def test_lessons_come_with_their_examples(tmp_path: Path) -> None:
    code = """
import sys, pathlib
from student_train.teachset.guard import open_for_training
with open_for_training(pathlib.Path(sys.argv[1]), ("train",)) as data:
    print(sum(1 for _ in data), [(one.id, lesson.targets[0].content) for one, lesson in data if lesson is not None])
"""
    path = tmp_path / "set"
    filled(path)
    with TeachingSet.open(path) as teaching:
        ids = list(teaching.ids("train"))
        lesson = Lesson(ids[3], (Target("yes", 1.0),))
        teaching.add("lesson", [Entry(ids[3], {}, msgspec.json.encode(lesson))])
        found = subprocess.run(  # while it is open here
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[3]
        )
    assert found.stdout.strip() == f"{len(ids)} [('{ids[3]}', 'yes')]", found.stderr


def test_every_look_is_an_entry_and_the_budget_holds(tmp_path: Path) -> None:
    path = tmp_path / "set"
    filled(path)
    with open_for_evaluation(path, "student-1", "gate") as (made, held):
        assert (made.number, made.budget, made.certificate.alike) == (1, 10, 0)
        assert len(list(held)) == made.certificate.holdout > 10
    with TeachingSet.open(path, holdout=True) as teaching:
        set_budget(teaching, 2, "a small holdout")
        assert permit(teaching, "student-2", "gate").number == 2
        with pytest.raises(SetError, match="looked at 2 times, and 2 are the budget"):
            permit(teaching, "student-2", "gate")
        with pytest.raises(SetError, match="and a reason"):
            set_budget(teaching, 20, " ")
        set_budget(teaching, 3, "a new student")
        assert permit(teaching, "student-3", "gate").number == 3
    assert budget(path) == (3, 3)
    looks = [entry["about"] for entry in lines(path) if entry["kind"] == "evaluation"]
    assert [one["model"] for one in looks] == ["student-1", "student-2", "student-3"]
    assert all(one["certificate"]["taught"] > 50 for one in looks)
    assert verify(path).problems == ()


def test_what_is_taught_of_the_holdout_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set"
    filled(path)
    with TeachingSet.open(path, holdout=True) as teaching:
        held = list(teaching.examples("holdout"))
        texts = [str(one.messages[-1]["content"]) for one in held]
        clean = certify(teaching)
        assert (clean.holdout, clean.alike) == (len(held), 0)
        assert clean.runs_known == 0
        add(teaching, [example(500, f"{texts[0]} Thanks a lot."), example(501, f"Re: {texts[1]}")], split="train")
        quoted = f"{told(1, 31)[0]} You wrote: {texts[2]} {told(1, 32)[0]}"
        add(teaching, [example(502, quoted)], split="calibration")
        add(teaching, [example(503, texts[3])], split="gold")  # nothing learns from it
        found = certify(teaching)
        assert (found.alike, found.taught) == (3, clean.taught + 3)
        assert found.runs_known == pytest.approx(3 / len(held), abs=0.01)
        with pytest.raises(SetError, match=f"3 of {len(held)} examples of the holdout"):
            permit(teaching, "student-1", "gate")
        assert budget(path) == (0, 10)
        assert permit(teaching, "student-1", "gate", most_alike=0.2).number == 1


def test_no_holdout_no_look(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        assert certify(teaching).share == 0
        with pytest.raises(SetError, match="`understudy teachset split` comes first"):
            permit(teaching, "student-1", "gate")
    assert "holdout" not in TRAINABLE
    assert os.stat(tmp_path / "set" / "holdout").st_mode & 0o077 == 0
