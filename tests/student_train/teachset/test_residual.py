"""The second look finds what the first let pass, and nothing is released before it passed; planted data are found."""

import json
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from examples.support import generate, teach
from student_train.cli.teachset import teachset
from student_train.teachset import planted, residual
from student_train.teachset.example import Answer
from student_train.teachset.handling import Rules, load
from student_train.teachset.importing import add
from student_train.teachset.placeholders import Placeholders
from student_train.teachset.scrub_chat import Chat
from student_train.teachset.store import Entry, SetError, TeachingSet
from tests.student_train.teachset.teaching import example, made, put

HERE = Path(teach.__file__).parent
RULES = load(HERE / "rules.yaml")


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(teachset, [str(word) for word in words])


def look(text: str, table: Placeholders | None = None, rules: Rules | None = None) -> set[str]:
    return set(residual.look(text, "user", rules or Rules(), "", table))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("4242 / 4242 / 4242 / 4242", "digits"),
        ("batch 4242424242424242", "digits"),
        ("de89.3704.0044.0532.0130.00", "digits"),
        ("rosa (at) example dot com", "at"),
        ("@rosa@host", "at"),
        ("x zK3mP9qLw8vRt5yBn2cDf7 y", "looks drawn"),
        ("rosa@example.com", "email"),
        ("Dear Rosa,", "name"),
    ],
)
def test_what_is_left_is_found(text: str, what: str) -> None:
    assert what in look(text)


@pytest.mark.parametrize(
    "text",
    [
        "<EMAIL_1> and <NAME_2>, <SECRET_1>",
        "1234 5678 9012 3456",
        "Order LF-480112, due 26 Nov 2026 (in 2 days), 2 x 79 EUR",
        "an uncharacteristically-long-but-ordinary-name",
        "550e8400-e29b-41d4-a716-446655440000",
        "size 41, boots @ 159 EUR",
    ],
)
def test_what_is_clean_is_clean(text: str) -> None:
    assert look(text) == set()


def test_names_that_the_session_knew_and_values_that_rules_keep() -> None:
    table = Placeholders(lambda text: text, "s")
    table.of("name", "Keller")
    assert look("And Keller?", table) == {"known name"}
    assert look("And Kellerman?", table) == set()
    kept = Rules.model_validate({"public": ["help@shop.example"], "tenants": {"*": {"user": {"ip": "keep"}}}})
    assert look("help@shop.example, 198.51.100.7", rules=kept) == set()


def put_answer(teaching: TeachingSet, of: str, text: str) -> None:
    said = Answer(of, "big", 0, 7, text)
    teaching.add("answer", [Entry(f"{of}/big/0", {}, msgspec.json.encode(said))])


def test_nothing_is_released_before_it_was_looked_at(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(20)])
    with TeachingSet.open(path, holdout=True) as teaching:
        with pytest.raises(SetError, match="was not"):
            residual.permit(teaching)
        assert residual.scan(teaching, Rules()).passed
        assert residual.permit(teaching)["leaking"] == 0
        put_answer(teaching, example(1).id, "Write to rosa@example.com")
        with pytest.raises(SetError, match="got 1 records"):
            residual.permit(teaching)
        leaks: list[residual.Leak] = []
        found = residual.scan(teaching, Rules(), tell=leaks.append)
        assert (found.leaking, found.rate, found.passed) == (1, 0.05, False)
        assert {leak.record for leak in leaks} == {f"answer {example(1).id}/big/0"}
        with pytest.raises(SetError, match="1 of 20 examples leaking"):
            residual.permit(teaching)
        assert residual.scan(teaching, Rules(), most=0.05).passed
        residual.permit(teaching)
        put_answer(teaching, example(2).id, "sk-proj-" + "a1B2c3D4e5" * 4)
        assert not residual.scan(teaching, Rules(), most=1.0).passed
    with TeachingSet.open(path) as teaching, pytest.raises(SetError, match="with its holdout"):
        residual.scan(teaching, Rules())


def test_the_holdout_is_looked_at_too(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(1)])
    with TeachingSet.open(path, holdout=True) as teaching:
        put(teaching, [example(2, messages=({"role": "user", "content": "rosa@example.com"},))], "holdout")
        assert residual.scan(teaching, Rules()).leaking == 1


def support(count: int, seed: int) -> list[dict[str, object]]:
    return list(teach.lines(list(generate.generate(count, seed))))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Support examples with made-up personal data in them, added as they come."""
    folder = tmp_path_factory.mktemp("support")
    (folder / "teach.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in support(150, 11)))
    TeachingSet.create(folder / "set").close()
    with TeachingSet.open(folder / "set") as teaching:
        assert add(teaching, [folder / "teach.jsonl"], RULES).added == 150
    return folder / "set"


def test_no_secret_and_no_value_is_in_any_file_of_a_set(path: Path) -> None:
    """Exports included, of which Parquet is read, for it is compressed. Names that no look knows are another matter."""
    for command in (("split", path), ("scan", path, "--rules", HERE / "rules.yaml"), ("export", path)):
        result = run(*command)
        assert result.exit_code == 0, result.output
    disk = b"".join(file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "secret")
    tables = [pq.read_table(file).to_pylist() for file in path.rglob("*.parquet")]
    assert tables
    disk += json.dumps(tables, ensure_ascii=False).encode()
    values = [one for example in generate.generate(150, 11) for one in example.pii]
    assert len([one for one in values if one.kind == "password"]) >= 8
    assert b"EMAIL_1" in disk
    assert [one for one in values if one.kind != "name" and one.value.encode() in disk] == []


def test_planted_data_are_found_and_little_else(path: Path) -> None:
    with TeachingSet.open(path) as teaching:
        chats = [Chat(one.messages, one.tools, one.response_format, one.served) for one in teaching.examples()]
    for sentences in planted.SENTENCES.values():
        found = planted.measure(chats, 200, 3, sentences, RULES.keep)
        right, count = found.recall()
        assert count == 1000
        assert right >= 0.98 * count
        assert found.lost <= 0.02 * found.clean
        assert all(found.recall(kind, place)[1] == 20 for kind in planted.PLANTED for place in planted.PLACES)


def test_what_is_not_scrubbed_is_not_taken_for_found() -> None:
    """The measure itself: without a scrubber nothing counts as found."""
    plant = planted.Plant("card", "user", "4242 4242 4242 4242", "Card {}")
    assert planted.left(plant, "Card {}", "Card 4242-4242-4242-4242")
    assert planted.left(plant, "Card {}", "Card 4242-42<CARD_1>") == "424242"
    assert not planted.left(plant, "Card {}", "Card <CARD_1>")
    name = planted.Plant("name", "user", "Dr. Rosa Keller", "Ask {}")
    assert planted.left(name, "Ask {}", "Ask Dr. <NAME_1> Keller") == "Keller"
    assert not planted.left(name, "Ask {}", "Ask Dr. <NAME_1>")
    secret = planted.Plant("secret", "user", 'ab"cdefgh', "{}")
    assert planted.left(secret, "{}", json.dumps({"x": 'b"cdefg'}))


def test_commands(tmp_path: Path) -> None:
    path, file = tmp_path / "set", tmp_path / "a.jsonl"
    rules = HERE / "rules.yaml"
    line = {"id": "1", "origin": "test", "messages": [{"role": "user", "content": "Hello, rosa@example.com"}]}
    file.write_text(json.dumps(line) + "\n" + json.dumps({**line, "id": "2", "extra": 1}) + "\n")
    run("init", path)
    added = run("add", path, file, "--rules", rules, "--split", "dev")
    assert added.exit_code == 0, added.output
    assert "1 examples added of 2 lines; 0 were there." in added.output
    assert "email" in added.output
    assert "another shape" in added.output
    assert run("add", path, file, "--split", "left_out").exit_code == 1
    assert run("add", path, tmp_path / "none").exit_code == 1
    file.write_text("consent: 3")
    assert "consent" in run("rules", file).output
    assert "LF[- ]?[0-9]{6}" in run("rules", rules).output
    assert "0 of 1 examples leak" in run("scan", path).output
    with TeachingSet.open(path) as teaching:
        put_answer(teaching, next(teaching.examples()).id, "rosa@example.com")
    refused = run("scan", path, "--list")
    assert refused.exit_code == 1
    assert "Not to be released" in refused.output
    assert "rosa" not in refused.output
    measured = run("scan", path, "--planted", "20", "--seed", "4")
    assert "Sentences held out" in measured.output
    assert "national_id" in measured.output
