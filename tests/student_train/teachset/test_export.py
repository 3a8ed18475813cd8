"""A version: the same bytes again, all that is taught and nothing of who it is from, and described for machines."""

import json
from pathlib import Path
from typing import Any

import mlcroissant
import msgspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from student_train.cli.teachset import teachset
from student_train.teachset import residual
from student_train.teachset.card import STAND_IN, About, read_about
from student_train.teachset.example import Answer, Example, Lesson, Source, Split, Target
from student_train.teachset.export import EXPORTED, Exported, export
from student_train.teachset.handling import Rules
from student_train.teachset.lineage import register
from student_train.teachset.retention import erase, of_requests
from student_train.teachset.store import Entry, SetError, TeachingSet
from student_train.teachset.verify import verify

WORDS = ["parcel", "refund", "invoice", "blanket", "stove", "bottle", "kettle", "lamp", "chair", "desk", "shelf", "rug"]
SPLITS: tuple[Split, ...] = ("train", "train", "train", "dev", "calibration", "holdout", "gold", "train")


def example(teaching: TeachingSet, number: int, kind: Any = "synthetic") -> Example:
    source = Source(kind, f"request-{number:03}", "support/generator 3", 1.79e9 + number * 86400, licence="Apache-2.0")
    word = WORDS[number % len(WORDS)]
    return Example(
        id=teaching.pseudonym(source.id),
        source=source,
        messages=({"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Where is my {word}?"}),
        tools=({"type": "function", "function": {"name": "find"}},) if number % 2 else (),
        response_format={"type": "json_object"} if number % 3 == 0 else None,
        person=teaching.person("acme", f"user-{number % 5}"),
        session=teaching.pseudonym(f"session-{number % 7}"),
        family="" if kind == "real_trace" else f"family-{number % 4}",
        skill=word,
        gold=f"It is in the {word} department." if number % 8 not in (0, 2) else None,
    )


def filled(path: Path, kind: Any = "synthetic", count: int = 48) -> TeachingSet:
    TeachingSet.create(path).close()
    teaching = TeachingSet.open(path, holdout=True)
    for n in range(count):
        one = example(teaching, n, kind)
        teaching.add("example", [Entry(one.id, {"split": SPLITS[n % 8]}, msgspec.json.encode(one), one.person)])
        if n % 8 == 0:
            targets = (Target("It is on its way.", 0.75, "big"), Target("On its way!", 0.25, "other", 1))
            lesson = Lesson(one.id, targets, {"big": 0.5, "other": 0.5})
            answer = Answer(one.id, "big", 0, 7, "It is on its way.")
            teaching.add("answer", [Entry(f"{one.id}/big/0", {}, msgspec.json.encode(answer), one.person)])
            teaching.add("lesson", [Entry(one.id, {}, msgspec.json.encode(lesson), one.person)])
    teaching.note("ask", {"teachers": {"big": {"answers": 6, "model": "llama-70b"}}})
    teaching.note("judge", {"pack": "default@1", "verdicts": {"big": {"kept": 5, "length": 1}}})
    assert residual.scan(teaching, Rules()).passed
    return teaching


def number(one: Example) -> int:
    return int(one.source.id.removeprefix("request-"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def read(made: Exported, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / f"{split}.jsonl").read_bytes().splitlines()]


def test_nothing_changed_the_same_bytes_and_else_a_new_version(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with filled(path) as teaching:
        first = export(teaching, about=About(name="Support"))
        bytes_ = contents(first.folder)
        assert (first.version.name, first.new) == ("v1", True)
        register(teaching, "student-1", "v1", "a" * 64)  # what came after is not on the card of this version
        teaching.note("evaluation", {"model": "student-1"})
        again = export(teaching, about=About(name="Support"))
        assert (again.version, again.new) == (first.version, False)
        assert contents(again.folder) == bytes_
        (first.folder / "train.jsonl").write_bytes(b"changed")
        (path / "exports" / ".v1").mkdir()  # as if killed
        assert contents(export(teaching, about=About(name="Support")).folder) == bytes_
        assert export(teaching, about=About(name="Other")).version.name == "v2"
        with pytest.raises(SetError, match="version v1: the set, or what is said about it, has changed"):
            export(teaching, "v1")
        more = example(teaching, 100)
        teaching.add("example", [Entry(more.id, {"split": "train"}, msgspec.json.encode(more))])
        with pytest.raises(SetError, match="expected nothing new since the last scan, got 1"):
            export(teaching)
        residual.scan(teaching, Rules())
        third = export(teaching, "after")
        assert (third.version.name, third.new) == ("after", True)
        assert third.version.root != first.version.root
        with pytest.raises(SetError, match="a folder's"):
            export(teaching, "../other", About(name="Yet another"))
    found = verify(path)
    assert found.problems == ()


def test_all_that_is_taught_and_nothing_of_who_it_is_from(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with filled(path) as teaching:
        made = export(teaching)
        examples = {one.id: one for one in teaching.examples()}
        splits = {id_: teaching.split_of(id_) for id_ in examples}
    lines = {split: read(made, split) for split in EXPORTED}
    for split, said in lines.items():
        expected = {id_ for id_, where in splits.items() if where == split}
        assert {one["id"] for one in said} == {id_ for id_ in expected if number(examples[id_]) % 8 != 2}
        assert [one["id"] for one in said] == sorted(one["id"] for one in said)
        table = pq.read_table(made.folder / f"{split}.parquet").to_pylist()
        assert [one["id"] for one in table] == [one["id"] for one in said]
        for line, row in zip(said, table, strict=True):
            one = examples[line["id"]]
            assert line["messages"] == json.loads(row["messages"]) == list(one.messages)
            assert line.get("tools", []) == json.loads(row["tools"] or "[]") == list(one.tools)
            assert line.get("response_format") == json.loads(row["response_format"] or "null") == one.response_format
            assert line["targets"] == json.loads(row["targets"])
            assert sum(target["weight"] for target in line["targets"]) == 1
    by_request = {examples[one["id"]].source.id: one for said in lines.values() for one in said}
    assert by_request["request-000"]["targets"] == [
        {"content": "It is on its way.", "weight": 0.75, "teacher": "big"},
        {"content": "On its way!", "weight": 0.25, "teacher": "other", "index": 1},
    ]
    assert by_request["request-001"]["targets"] == [{"content": "It is in the refund department.", "weight": 1.0}]
    assert "request-002" not in by_request  # nobody has an answer
    assert made.untaught == sum(n % 8 == 2 for n in range(48))
    whole = b"".join(contents(made.folder).values())
    for id_, one in examples.items():
        assert one.source.id.encode() not in whole
        assert one.person.encode() not in whole
        assert one.session.encode() not in whole
        assert (id_.encode() in whole) is (id_ in {line["id"] for said in lines.values() for line in said})


def test_the_card_says_plainly_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "about.yaml").write_text(
        "name: Support desk\nuses: [to teach a small model]\nbiases: [English only]\nlicence: Apache-2.0\n"
    )
    with filled(tmp_path / "made") as teaching:
        card = (export(teaching, about=read_about(tmp_path / "about.yaml")).folder / "card.md").read_text()
    with filled(tmp_path / "real", "real_trace") as teaching:
        one = msgspec.structs.replace(example(teaching, 101), session="")
        teaching.add("example", [Entry(one.id, {"split": "train"}, msgspec.json.encode(one))])
        residual.scan(teaching, Rules())
        other = (export(teaching).folder / "card.md").read_text()
    assert STAND_IN in card
    for said in (
        "# Support desk: v1",
        "| train | 18 | yes |",
        "| holdout | 6 | no |",
        "- to teach a small model",
        "- English only",
        "Limits:\n- Nobody has said.",
        "6 big (models: llama-70b)",
        "5 kept, 1 length",
        "No person has reviewed",
        "0 of 48 examples leaking",
    ):
        assert said in card, said
    assert "36 of 37 examples are real traces" in other
    assert "**The other 1 were made up** (1 synthetic)" in other
    assert STAND_IN not in other
    (tmp_path / "about.yaml").write_text("title: Support desk\n")
    with pytest.raises(SetError, match="title: extra inputs are not permitted; what can be said: name"):
        read_about(tmp_path / "about.yaml")


def test_machines_read_it_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with filled(tmp_path / "set") as teaching:
        made = export(teaching, about=About(name="Support", licence="Apache-2.0", url="https://example.org/set"))
    dataset = mlcroissant.Dataset(jsonld=made.folder / "croissant.json")
    issues = dataset.metadata.ctx.issues
    assert (set(issues.errors), set(issues.warnings)) == (set(), set())
    assert "not standard" not in caplog.text
    metadata = dataset.metadata
    assert [str(one) for one in metadata.conforms_to] == [
        "http://mlcommons.org/croissant/1.1",
        "http://mlcommons.org/croissant/RAI/1.0",
    ]
    assert "No example here is a real trace" in str(metadata.data_collection)
    for told in (
        metadata.personal_sensitive_information,
        metadata.data_limitations,
        metadata.data_biases,
        metadata.data_use_cases,
        metadata.machine_annotation_tools,
        metadata.data_release_maintenance_plan,
        metadata.annotations_per_item,
        metadata.data_preprocessing_protocol,
    ):
        assert told
    for split in EXPORTED:
        said = [record[f"{split}/id"].decode() for record in dataset.records(split)]
        assert said == [line["id"] for line in read(made, split)]
    file = made.folder / "train.parquet"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(Exception, match=r"Download\(train.parquet\)"):
        list(mlcroissant.Dataset(jsonld=made.folder / "croissant.json").records("train"))


def test_an_export_goes_with_what_is_erased(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with filled(path) as teaching:
        export(teaching)
        (path / "exports" / ".killed").mkdir()
        (path / "exports" / ".killed" / "train.jsonl").write_text("half of it")
        found = erase(teaching, of_requests(["request-001"]), "asked for")
        assert found.versions == ("v1",)
        assert list((path / "exports").iterdir()) == []
        made = export(teaching)
        assert (made.version.name, made.new) == ("v2", True)
        assert "Records erased so far: 1." in (made.folder / "card.md").read_text()
    assert verify(path).problems == ()


def test_a_changed_export_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set"
    with filled(path) as teaching:
        made = export(teaching)
    assert verify(path).problems == ()
    for name in ("train.jsonl", "gold.parquet"):
        whole = (made.folder / name).read_bytes()
        (made.folder / name).write_bytes(whole[:99] + bytes([whole[99] ^ 1]) + whole[100:])
        assert [one.partition(": ")[0] for one in verify(path).problems] == [f"exports/v1/{name}"]
        (made.folder / name).unlink()
        assert [one.partition(": ")[0] for one in verify(path).problems] == [f"exports/v1/{name}"]
        (made.folder / name).write_bytes(whole)
    assert verify(path).problems == ()


def test_the_command(tmp_path: Path) -> None:
    path = tmp_path / "set"
    TeachingSet.create(path).close()
    run = CliRunner().invoke
    assert "was not: run" in " ".join(run(teachset, ["export", str(path)]).output.split())
    filled(tmp_path / "full").close()
    result = run(teachset, ["export", str(tmp_path / "full"), "--split", "train", "--name", "first"])
    assert result.exit_code == 0, result.output
    assert sorted(contents(tmp_path / "full" / "exports" / "first")) == [
        "card.md",
        "croissant.json",
        "train.jsonl",
        "train.parquet",
    ]
    result = run(teachset, ["export", str(tmp_path / "full"), "--split", "holdout"])
    assert result.exit_code == 1
    assert "it is never exported" in " ".join(result.output.split())
