"""Who is erased is gone, from every file; what learned from them is told; nothing of it comes back."""

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from student_train.teachset.example import Answer, Example, Source, Split
from student_train.teachset.lineage import history, lineage, register
from student_train.teachset.retention import DAY_S, erase, of_customer, of_requests, past
from student_train.teachset.store import Entry, SetError, TeachingSet
from student_train.teachset.verify import root, verify

SHA = "a" * 64


def made(teaching: TeachingSet, number: int, user: str = "", **more: Any) -> Example:
    """An example that has its number and its user all over itself."""
    tenant = more.pop("tenant", "acme")
    source = Source("real_trace", f"request-{number:03}", "support", 1000.0 + number, tenant, **more.pop("source", {}))
    messages = ({"role": "user", "content": f"text-{number:03} of someone {more.pop('text', '')}"},)
    person = teaching.person(tenant, user)
    return Example(teaching.pseudonym(source.id), source, messages, person=person, **more)


def put(teaching: TeachingSet, *examples: Example) -> None:
    teaching.add("example", [Entry(one.id, {}, msgspec.json.encode(one), one.person) for one in examples])


def answer(teaching: TeachingSet, example: Example) -> None:
    said = Answer(example.id, "big", 0, 7, f"answer-to-{example.source.id}")
    teaching.add("answer", [Entry(f"{example.id}/big/0", {}, msgspec.json.encode(said), example.person)])


def fresh(path: Path) -> TeachingSet:
    TeachingSet.create(path).close()
    return TeachingSet.open(path, holdout=True)


def version(teaching: TeachingSet, name: str) -> None:
    """What an export leaves: an entry, and files."""
    folder = teaching.path / "exports" / name
    folder.mkdir(parents=True)
    texts = [teaching.get("example", one.id) or b"" for one in teaching.examples("train")]
    (folder / "train.jsonl").write_bytes(b"\n".join(texts))
    teaching.note("version", {"name": name, "root": root(teaching.path)[0], "splits": ["train", "dev"]})


def on_disk(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file())


def traces(teaching: TeachingSet, one: Example) -> list[bytes]:
    number = one.source.id.removeprefix("request-")
    return [one.source.id.encode(), f"text-{number}".encode(), f"answer-to-request-{number}".encode()]


def test_a_person_is_gone_from_every_file(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with fresh(path) as teaching:
        users = ["ann", "bob", "cid"]
        examples = [made(teaching, n, users[n % 3], session=f"s{n % 6}") for n in range(60)]
        child = made(teaching, 900, "ann", parent=examples[0].id, kind="slot_dropped")
        elsewhere = made(teaching, 901, "ann", tenant="other")
        put(teaching, *examples, child, elsewhere)
        for one in examples:
            answer(teaching, one)
        table = Entry("s0", {}, b"table-of-s0", teaching.person("acme", "ann"))
        other = Entry("s1", {}, b"table-of-s1", teaching.person("acme", "bob"))
        teaching.add("session", [table, other])
        splits: dict[int, Split] = {0: "train", 1: "holdout", 2: "dev"}
        teaching.assign((one.id, splits[n % 4]) for n, one in enumerate(examples) if n % 4 in splits)
        version(teaching, "before")
        register(teaching, "student-1", "before", SHA)
        put(teaching, made(teaching, 500, "bob"))
        with pytest.raises(SetError, match="expected one of this set \\(before\\)"):
            register(teaching, "student-2", "of old", SHA)

        gone = [one for n, one in enumerate(examples) if n % 3 == 0] + [child]
        marks = [mark for one in gone for mark in traces(teaching, one)][:-1]  # nobody answered the child
        marks += [teaching.person("acme", "ann").encode(), b"table-of-s0"]
        whole = on_disk(path)
        assert all(mark in whole for mark in marks)
        found = erase(teaching, of_customer(teaching, "ann", "acme"), "asked for")
        assert (found.examples, found.records, found.versions) == (21, 42, ("before",))
        assert [one.name for one in found.models] == ["student-1"]
        again = erase(teaching, of_customer(teaching, "ann", "acme"), "asked for")
        assert (again.examples, again.records) == (0, 0)
        put(teaching, *examples, child)  # the same traces, read again
        answer(teaching, examples[0])
        assert teaching.get("example", examples[0].id) is None
        known = lineage(teaching, examples[0].id)
        assert known.erased is not None
        assert known.erased.about["why"] == "asked for"
        assert [one.name for one in known.models] == ["student-1"]
    whole = on_disk(path)
    assert [mark for mark in marks if mark in whole] == []
    for n, one in enumerate(examples):
        if n % 3:
            assert all(mark in whole for mark in traces(teaching, one))
    assert b"request-901" in whole  # of another tenant's ann
    assert b"table-of-s1" in whole
    assert not (path / "exports" / "before").exists()
    checked = verify(path)
    assert (checked.problems, checked.erased) == ((), 42)


def test_a_request_is_erased_and_its_session_goes_on(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        examples = [made(teaching, n, "ann", session="s0") for n in range(3)]
        put(teaching, *examples)
        teaching.add("session", [Entry("s0", {}, b"table-of-s0", examples[0].person)])
        found = erase(teaching, of_requests(["request-001"]), "asked for")
        assert (found.examples, found.records) == (1, 1)
        assert [one.source.id for one in sorted(teaching.examples(), key=lambda one: one.source.at)] == [
            "request-000",
            "request-002",
        ]
        assert teaching.get("session", "s0") == b"table-of-s0"
        erase(teaching, of_requests(["request-000", "request-002"]), "asked for")
        assert teaching.get("session", "s0") is None
    assert verify(tmp_path / "set").problems == ()


def test_what_may_be_kept_no_longer_goes(tmp_path: Path) -> None:
    now = 1000.0 + 40 * DAY_S
    with fresh(tmp_path / "set") as teaching:
        put(
            teaching,
            made(teaching, 1),
            made(teaching, 2, source={"retention_until": now - 1}),
            made(teaching, 3, source={"retention_until": now + 1}),
        )
        teaching.assign([(teaching.pseudonym("request-002"), "train")])
        version(teaching, "v1")
        register(teaching, "student-1", "v1", SHA)
        found = erase(teaching, past(now), "retention", "expired")
        assert (found.examples, [one.name for one in found.models]) == (1, ["student-1"])
        assert erase(teaching, past(now, {"synthetic": 1}), "retention", "expired").examples == 0
        assert erase(teaching, past(now, {"real_trace": 41}), "retention", "expired").examples == 0
        assert erase(teaching, past(now, {"real_trace": 39.9}), "retention", "expired").models == ()
        assert list(teaching.examples()) == []
    assert verify(tmp_path / "set").problems == ()


def test_lineage_knows_who_learned_from_what(tmp_path: Path) -> None:
    with fresh(tmp_path / "set") as teaching:
        examples = [made(teaching, n) for n in range(4)]
        put(teaching, *examples[:3])
        answer(teaching, examples[0])
        teaching.assign([(examples[0].id, "train"), (examples[1].id, "holdout"), (examples[2].id, "dev")])
        version(teaching, "v1")
        put(teaching, examples[3])
        teaching.assign([(examples[3].id, "train")])
        version(teaching, "v2")
        first = register(teaching, "one", "v1", SHA, ["train"])
        register(teaching, "two", "v2", "b" * 64)
        assert register(teaching, "one", "v1", SHA, ["train"]) == first
        told = [lineage(teaching, one.id) for one in examples]
        assert [[one.name for one in each.models] for each in told] == [["one", "two"], [], ["two"], ["two"]]
        assert [[one.name for one in each.versions] for each in told] == [["v1", "v2"], [], ["v1", "v2"], ["v2"]]
        assert told[0].source == examples[0].source
        assert [one.kind for one in told[0].told] == ["example", "answer", "split"]
        assert len(history(teaching.path).models) == 2
        with pytest.raises(SetError, match="got 'nobody'"):
            lineage(teaching, "nobody")
        with pytest.raises(SetError, match="64 hexadecimal"):
            register(teaching, "three", "v1", "abc")


def test_a_version_is_verified_from_the_ledger_alone(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with fresh(path) as teaching:
        examples = [made(teaching, n, "ann" if n < 3 else "bob") for n in range(9)]
        put(teaching, *examples)
        teaching.assign((one.id, "train") for one in examples[:5])
        version(teaching, "good")
        erase(teaching, of_customer(teaching, "ann"), "asked for")
        assert verify(path).problems == ()
        teaching.note("version", {"name": "bad", "root": "0" * 64, "splits": ["train"]})
    assert [one.partition(":")[0] for one in verify(path).problems] == ["version bad"]


def test_a_reader_in_the_way_is_told(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with fresh(path) as teaching:
        put(teaching, made(teaching, 1, "ann"))
        reader = sqlite3.connect(path / "set.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM records").fetchone()
        teaching._db.execute("PRAGMA busy_timeout = 50")
        with pytest.raises(SetError, match="another process reads the set"):
            erase(teaching, of_customer(teaching, "ann"), "asked for")
        reader.close()
        erase(teaching, of_customer(teaching, "ann"), "asked for")
        assert b"text-001" not in on_disk(path)
