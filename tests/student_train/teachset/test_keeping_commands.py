"""The commands that keep a set: what they say, and that they end with 1 and one line when something is wrong."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from student_train.cli.teachset import teachset
from student_train.teachset.store import TeachingSet
from tests.student_train.teachset.test_retention import SHA, fresh, made, on_disk, put, version


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(teachset, [str(word) for word in words])


def told(*words: str | Path) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refused(*words: str | Path) -> str:
    result = run(*words)
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two people's requests, one version, one model."""
    path = tmp_path / "set"
    with fresh(path) as teaching:
        put(teaching, *(made(teaching, n, "ann" if n < 2 else "bob", family="f") for n in range(5)))
        teaching.assign((one.id, "train") for one in list(teaching.examples())[:4])
        version(teaching, "v1")
    return path


def of(path: Path, number: int) -> str:
    with TeachingSet.open(path) as teaching:
        return teaching.pseudonym(f"request-{number:03}")


def test_a_new_set(tmp_path: Path) -> None:
    assert "secret" in told("init", tmp_path / "new")
    assert "found one" in refused("init", tmp_path / "new")
    assert "0 entries" in told("status", tmp_path / "new")
    assert "0 entries, 0 records: all as it was written" in told("verify", tmp_path / "new")
    for command in ("status", "verify", "expire"):
        assert "`understudy teachset init" in refused(command, tmp_path / "none")


def test_status_tells_what_is_there(path: Path) -> None:
    told("register-model", path, "student-1", "--version", "v1", "--sha256", SHA)
    said = told("status", path)
    assert "example 5" in said
    assert "train 4" in said
    assert "in none yet 1" in said
    assert "v1 student-1" in said


def test_verify_says_what_was_changed(path: Path) -> None:
    with TeachingSet.open(path) as teaching:
        head = teaching.head[1]
    assert head in told("verify", path)
    told("verify", path, "--head", head)
    assert "expected an entry with hash ffff" in refused("verify", path, "--head", "f" * 64)
    database = (path / "set.db").read_bytes()
    (path / "set.db").write_bytes(database.replace(b"text-003", b"text-004"))
    assert f"example {of(path, 3)}" in refused("verify", path)
    (path / "set.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4080 + database[4096:])
    assert "not a database" in refused("verify", path)
    (path / "set.db").write_bytes(database[:4096] + b"\xff" * 8192 + database[12288:])
    assert "malformed" in refused("verify", path)


def test_erasing_tells_whom_to_train_again(path: Path) -> None:
    told("register-model", path, "student-1", "--version", "v1", "--sha256", SHA)
    assert "2 examples would be erased" in told("erase", path, "--customer", "ann", "--dry-run")
    assert b"text-000" in on_disk(path)
    assert "Nothing" in told("erase", path, "--customer", "ann", "--tenant", "other")
    said = told("erase", path, "--customer", "ann")
    assert "2 examples are erased" in said
    assert "They were in: v1" in said
    assert f"Train again: student-1 (on v1, sha256 {SHA})" in said
    told("erase", path, "--request", "request-002", "--example", of(path, 3))
    left = on_disk(path)
    assert [b"text-%03d" % n in left for n in range(5)] == [False, False, False, False, True]
    told("verify", path)
    assert "--customer, --request or --example" in refused("erase", path)


def test_expiry_by_kind_of_source(path: Path) -> None:
    assert "0 examples would be erased" in told("expire", path, "--dry-run")
    assert "real_trace=90" in refused("expire", path, "--days", "real_trace")
    assert "expected one of real_trace, synthetic, handcrafted" in refused("expire", path, "--days", "other=3")
    assert "days of 0 or more" in refused("expire", path, "--days", "real_trace=nan")
    assert "5 examples are erased" in told("expire", path, "--days", "real_trace=90", "--days", "synthetic=1")


def test_lineage_says_it_in_words(path: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    told("register-model", path, "student-1", "--version", "v1", "--weights", tmp_path / "weights")
    with TeachingSet.open(path) as teaching:
        first = next(teaching.examples())
    said = told("lineage", path, first.id)
    assert f"From support: request {first.source.id}, 1970-01-01" in said
    assert "Split: train." in said
    assert "In versions: v1." in said
    assert "Learned from it: student-1 (on v1, sha256 9da2e1" not in said  # of "weights" it is another
    assert "Learned from it: student-1 (on v1, sha256 " in said
    told("erase", path, "--example", first.id)
    said = told("lineage", path, first.id)
    assert "Erased" in said
    assert first.source.id not in said
    assert "Learned from it: student-1" in said
    assert "got 'nobody'" in refused("lineage", path, "nobody")
    assert "either --weights or --sha256" in refused("register-model", path, "x", "--version", "v1")
    assert "expected one of this set (v1)" in refused("register-model", path, "x", "--version", "v9", "--sha256", SHA)


def test_splitting_and_looking(tmp_path: Path) -> None:
    path = tmp_path / "set"
    told("init", path)
    with TeachingSet.open(path) as teaching:
        texts = ["order", "refund", "parcel", "invoice", "blanket", "stove", "weather", "keyboard"]
        put(teaching, *(made(teaching, n, family=f"f{n % 8}", text=f"{texts[n % 8]} " * 30) for n in range(24)))
    assert "four numbers" in refused("split", path, "--shares", "1,2")
    assert "a sum of 1" in refused("split", path, "--shares", "1,1,0,0")
    assert "FAMILY=SPLIT" in refused("split", path, "--pin", "f1")
    assert "comes first" in refused("evaluate-permit", path, "student-1")
    said = told("split", path, "--pin", "f1=holdout", "--shares", "1,0,0,0")
    assert "holdout 3 3" in said
    assert "train 21 21" in said
    assert "8 groups; the largest has 3 of 24 examples" in said
    assert "train 0 21" in told("split", path)
    assert "0 of 10 looks" in told("evaluate-permit", path)
    assert "Look 1 of 10. Of 3 examples of the holdout 0 are like" in told("evaluate-permit", path, "student-1")
    assert "expected --reason" in refused("evaluate-permit", path, "--budget", "1")
    assert "1 of 1 looks" in told("evaluate-permit", path, "--budget", "1", "--reason", "it is small")
    assert "1 are the budget" in refused("evaluate-permit", path, "student-1")
    told("verify", path)
