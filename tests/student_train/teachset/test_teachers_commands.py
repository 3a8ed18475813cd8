"""From asking two teachers to lessons and back from people: the commands, on a set and two servers."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from student_train.cli.teachset import teachset
from student_train.teachset.example import Answer, Example, Lesson, Review
from student_train.teachset.judge import Options
from student_train.teachset.judge_set import answered, judge_all
from student_train.teachset.review import Key, read_key
from student_train.teachset.store import Entry, TeachingSet
from student_train.teachset.verify import verify
from tests.student_train.teachset.teaching import answers, example, made, put
from tests.support.upstream import Received, ScriptedUpstream, Step, completion, response

_SCHEMA = {
    "type": "object",
    "required": ["intent", "reply"],
    "properties": {"intent": {"enum": ["even", "odd"]}, "reply": {"type": "string"}},
    "additionalProperties": False,
}
_FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": _SCHEMA}}
_REPLIES = ("We have looked into it and all is well again.", "Thank you, somebody of us takes care of this today.")


def _right(number: int) -> str:
    return "odd" if number % 2 else "even"


def _says(request: Received, good_at: str) -> str:
    """Right in its own skill; in the other right for one of four samples, by the seed."""
    body = request.json
    number, seed = int(body["messages"][-1]["content"].split()[-1]), body["seed"]
    right = _right(number)
    if seed % 11 == 0:
        return '{"intent": "even", "reply": '
    wrong = "odd" if right == "even" else "even"
    said = right if good_at == right or seed % 4 == 0 else wrong
    return json.dumps({"intent": said, "reply": _REPLIES[seed % 2]})


def _server(good_at: str) -> ScriptedUpstream:
    def script(request: Received) -> Iterable[Step]:
        answer = completion(_says(request, good_at), model=f"model-{good_at}")
        answer["usage"] = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
        yield response(answer)

    return ScriptedUpstream(script)


def _example(number: int, **more: Any) -> Example:
    return example(number, _right(number), response_format=_FORMAT, **more)


def _run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(teachset, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A set with two teachers' answers: `evens` is right on even numbers, `odds` on odd ones."""
    path = made(tmp_path / "set", [_example(number) for number in range(40)])
    with TeachingSet.open(path) as teaching:
        gold = (json.dumps({"intent": _right(number), "reply": "The words of gold."}) for number in range(100, 124))
        put(teaching, [_example(number, gold=next(gold)) for number in range(100, 124)], "gold")
    with _server("even") as evens, _server("odd") as odds:
        price = "price_input=1,price_output=2"
        output = _run("ask", path, "--teacher", f"evens={evens.base_url},{price}", "--teacher", f"odds={odds.base_url}")
    assert output.count("gives no log-probabilities") == 2
    return path


def _lessons(path: Path) -> dict[str, Lesson]:
    with TeachingSet.open(path) as teaching:
        return {key: msgspec.json.decode(payload, type=Lesson) for key, payload in teaching.payloads("lesson")}


def _answers(path: Path) -> dict[str, Answer]:
    with TeachingSet.open(path) as teaching:
        return answers(teaching)


def _green(path: Path) -> None:
    assert verify(path).problems == ()


def test_judged_every_answer_has_its_verdict_and_none_is_lost(asked: Path) -> None:
    before = _answers(asked)
    output = _run("judge", asked)
    after = _answers(asked)
    assert after.keys() == before.keys()
    words = Counter(answer.rejected.partition(":")[0] or "kept" for answer in after.values())
    assert {"kept", "agreement", "same", "json_valid", "gold"} <= words.keys()
    assert "json_valid" in output
    for key, answer in after.items():
        assert msgspec.structs.replace(answer, rejected="") == before[key]
    for answer in after.values():
        if not answer.rejected:
            msgspec.json.decode(answer.content)
    with TeachingSet.open(asked) as teaching:
        head = teaching.head[0]
        judge_all(teaching, Options())
        assert teaching.head[0] == head + 1  # the note of the run: no verdict has changed
    _green(asked)


def test_a_pack_of_the_gateway_judges_too(asked: Path, tmp_path: Path) -> None:
    pack = tmp_path / "pack.yaml"
    pack.write_text(
        "pack: mine\nversion: 1\nchecks:\n  - {check: phrases, severity: high, options: {banned: [somebody of us]}}\n"
    )
    _run("judge", asked, "--pack", pack)
    for answer in _answers(asked).values():
        assert "somebody of us" not in answer.content or answer.rejected
    assert any(answer.rejected.startswith("phrases") for answer in _answers(asked).values())
    assert "expected one of" in _run_bad_pack(asked, tmp_path)


def _run_bad_pack(asked: Path, tmp_path: Path) -> str:
    bad = tmp_path / "bad.yaml"
    bad.write_text("pack: mine\nversion: 1\nchecks: [nonsense]\n")
    result = CliRunner().invoke(teachset, ["judge", str(asked), "--pack", str(bad)])
    assert result.exit_code == 1
    return result.output


def test_each_skill_is_taught_by_the_teacher_that_is_right_in_it(asked: Path) -> None:
    _run("judge", asked)
    _run("choose", asked)
    lessons = _lessons(asked)
    by_id = {_example(number).id: number for number in range(40)}
    assert lessons.keys() == by_id.keys()  # none of gold
    taught = Counter((_right(by_id[key]), target.teacher) for key, one in lessons.items() for target in one.targets)
    assert taught.keys() == {("even", "evens"), ("odd", "odds")}
    for one in lessons.values():
        assert sum(target.weight for target in one.targets) == pytest.approx(1)
        assert {json.loads(target.content)["intent"] for target in one.targets} == {_right(by_id[one.example])}
    _green(asked)


def test_a_blend_teaches_by_both_and_choosing_again_replaces(asked: Path) -> None:
    _run("judge", asked)
    _run("choose", asked)
    _run("choose", asked, "--mode", "blend")
    lessons = _lessons(asked)
    assert any(len(one.teachers) == 2 for one in lessons.values())
    assert all(sum(one.teachers.values()) == pytest.approx(1) for one in lessons.values())
    _green(asked)


def test_the_report_says_that_routing_is_better(asked: Path, tmp_path: Path) -> None:
    _run("teachers", asked, "--out", tmp_path / "report.md", "--plot", tmp_path / "report.png")
    report = (tmp_path / "report.md").read_text()
    assert "Routing is better than the best teacher alone" in report
    assert "0.000070000" in report  # 30 x 1 + 20 x 2 USD per 1M
    assert (tmp_path / "report.png").stat().st_size > 10_000


def test_without_gold_answers_it_says_what_to_do(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [_example(1)])
    assert "ask them first" in _run("choose", path, code=1)
    assert "ask them first" in _run("teachers", path, code=1)


def _write(asked: Path, out: Path, key: Path) -> tuple[list[dict[str, str]], Key]:
    _run("review", "write", asked, "--out", out, "--key", key, "--n", 5)
    with out.open(newline="") as file:
        return list(csv.DictReader(file)), read_key(key)


def _fill(path: Path, rows: list[dict[str, str]], reviewer: str, key: Key, asked: Path) -> None:
    """As somebody would who knows what is right: by the number in the prompt."""
    for row in rows:
        right = _right(int(row["prompt"].split()[-1]))
        for side in ("a", "b"):
            row[f"decision_{side}"] = "good" if f'"intent": "{right}"' in row[side] else "bad"
        row["reviewer"] = reviewer
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_people_review_blindly_and_what_is_bad_leaves_the_lessons(asked: Path, tmp_path: Path) -> None:
    _run("choose", asked)  # unjudged: everything is taught
    rows, key = _write(asked, tmp_path / "review.csv", tmp_path / "key.json")
    text = (tmp_path / "review.csv").read_text()
    assert "evens" not in text
    assert "odds" not in text
    assert len(rows) >= 30  # nearly all disagree
    _fill(tmp_path / "review.csv", rows, "Ann Example", key, asked)
    output = _run("review", "read", asked, tmp_path / "review.csv", "--key", tmp_path / "key.json")
    assert f"{2 * len(rows)} new decisions of 1 people" in output
    found = _answers(asked)
    bad = {at for at, answer in found.items() if answer.rejected.startswith("review")}
    assert bad
    for lesson in _lessons(asked).values():
        left = {f"{lesson.example}/{target.teacher}/{target.index}" for target in lesson.targets}
        assert not left & bad
        assert not left or sum(target.weight for target in lesson.targets) == pytest.approx(1)
    with TeachingSet.open(asked) as teaching:
        reviews = [msgspec.json.decode(payload, type=Review) for _, payload in teaching.payloads("review")]
    assert {one.decision for one in reviews} == {"good", "bad"}
    assert not any(b"Ann" in file.read_bytes() for file in asked.rglob("*") if file.is_file())  # a pseudonym
    again = _run("review", "read", asked, tmp_path / "review.csv", "--key", tmp_path / "key.json")
    assert "0 new decisions" in again
    _run("judge", asked)
    assert all(found[at].rejected == _answers(asked)[at].rejected for at in bad)
    _green(asked)


def test_two_reviewers_and_the_filters_are_compared(asked: Path, tmp_path: Path) -> None:
    _run("judge", asked)
    rows, key = _write(asked, tmp_path / "review.csv", tmp_path / "key.json")
    _fill(tmp_path / "ann.csv", rows, "Ann", key, asked)
    for row in rows[:6]:
        row["decision_a"] = "unsure"
    rows = [{**row, "reviewer": "Bo"} for row in rows]
    with (tmp_path / "bo.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _run("review", "read", asked, tmp_path / "ann.csv", "--key", tmp_path / "key.json")
    output = _run("review", "read", asked, tmp_path / "bo.csv", "--key", tmp_path / "key.json")
    same = 100 * (2 * len(rows) - 6) / (2 * len(rows))
    assert f"the same on {same:.0f} % of {2 * len(rows)} answers, Cohen's kappa 0." in output
    assert "Krippendorff's alpha" in output
    assert "people and filters: the same on" in output


def test_a_wrong_review_changes_nothing(asked: Path, tmp_path: Path) -> None:
    rows, key = _write(asked, tmp_path / "review.csv", tmp_path / "key.json")
    _fill(tmp_path / "review.csv", rows, "Ann", key, asked)
    text = (tmp_path / "review.csv").read_text().replace("good", "great", 1)
    (tmp_path / "review.csv").write_text(text)
    with TeachingSet.open(asked) as teaching:
        head = teaching.head
    output = _run("review", "read", asked, tmp_path / "review.csv", "--key", tmp_path / "key.json", code=1)
    assert "expected one of good, bad, unsure, got 'great'" in output.replace("\n", "")
    with TeachingSet.open(asked) as teaching:
        assert teaching.head == head


def test_a_review_is_not_overwritten(asked: Path, tmp_path: Path) -> None:
    _write(asked, tmp_path / "review.csv", tmp_path / "key.json")
    arguments = ("review", "write", asked, "--out", tmp_path / "other.csv", "--key", tmp_path / "key.json")
    assert "is there already" in _run(*arguments, code=1)


def test_unanswerable_cases_are_put_beside_what_they_were_made_from(tmp_path: Path) -> None:
    def one(number: int) -> Example:
        gold = json.dumps({"action": "answer", "order": f"A-{number}", "reply": "It comes soon."})
        context = json.dumps({"order": f"A-{number}", "state": "sent"})
        return example(
            number, messages=({"role": "user", "content": f"Where is it? {context}"},), gold=gold, person="p"
        )

    path = made(tmp_path / "set", [one(number) for number in range(100, 130)])
    with TeachingSet.open(path) as teaching:
        put(teaching, [one(number) for number in range(200, 210)], "gold")
        unsplit = one(300)
        teaching.add("example", [Entry(unsplit.id, {}, msgspec.json.encode(unsplit))])
    tasks = tmp_path / "tasks.yaml"
    tasks.write_text('share: 1.0\ntasks: [{task: facts, dropped: {target: {action: ask, reply: "Which {name}?"}}}]\n')
    assert "slot_dropped" in _run("unsettle", path, tasks)
    _run("unsettle", path, tasks)
    with TeachingSet.open(path) as teaching:
        found = [one for one in teaching.examples() if one.kind != "plain"]
        assert len(found) == 31
        for new in found:
            assert teaching.split_of(new.id) == teaching.split_of(new.parent) != "gold"
            assert json.loads(new.gold or "")["order"] is None
    _green(path)


def test_no_set_is_told_in_a_line(tmp_path: Path) -> None:
    for command in (["ask", "--teacher", "a=http://127.0.0.1:9/v1"], ["judge"], ["choose"], ["teachers"]):
        output = _run(command[0], tmp_path / "none", *command[1:], code=1)
        assert "expected a teaching set, found none" in output.replace("\n", " ")


def test_examples_meet_their_answers_whatever_their_split(tmp_path: Path) -> None:
    path = made(tmp_path / "set", [example(number) for number in range(0, 1200, 2)])
    with TeachingSet.open(path) as teaching:
        put(teaching, [example(number) for number in range(1, 1200, 2)], "dev")
        said = [Answer(example(number).id, "t", at, 0, f"{number}") for number in range(1200) for at in (10, 2)]
        teaching.add("answer", [Entry(f"{one.example}/t/{one.index}", {}, msgspec.json.encode(one)) for one in said])
        found = list(answered(teaching, ("train", "dev")))
        assert len(found) == 1200
        for one, own in found:
            assert [(answer.example, answer.index) for answer in own] == [(one.id, 2), (one.id, 10)]
        assert len(list(answered(teaching, ("dev",)))) == 600
        assert sum(len(own) for _, own in answered(teaching, ("dev",))) == 1200
