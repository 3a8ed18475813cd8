"""The customer support set: the generator, the gold set and the holdout, and the checker that both are held against."""

import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from examples.support import check, pii
from examples.support.families import FAMILIES, HELD_OUT
from examples.support.generate import choose, generate
from examples.support.policy import INTENTS, PRIORITIES, SLOTS, decide
from examples.support.record import HERE, Answer, Example, chat, read
from examples.support.world import TODAY, Context, line, order, warranty_end
from router_policies.checks import pii_find
from router_policies.checks.pack import read_pack

GENERATED = list(generate(2500, 7))
GOLD = read(HERE / "gold.jsonl")
HOLDOUT = read(HERE / "holdout.jsonl")
WRITTEN = [*GOLD, *HOLDOUT]
POLICY = (HERE / "policy.md").read_text()


def named(example: Example) -> str:
    return example.id


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for path in paths:
        command: list[str | Path] = [
            sys.executable,
            HERE / "generate.py",
            "--count",
            "150",
            "--seed",
            "3",
            "--families",
            "all",
        ]
        subprocess.run([*command, "--out", path], check=True, timeout=60, cwd=tmp_path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert read(paths[0]) == list(generate(150, 3))


def test_a_longer_file_begins_with_the_shorter_one() -> None:
    assert GENERATED[:200] == list(generate(200, 7))


def test_another_seed_gives_other_messages() -> None:
    other = {example.message for example in generate(500, 8)}
    assert len(other & {example.message for example in GENERATED}) < 15


def test_no_message_is_there_twice() -> None:
    for examples in (GENERATED, GOLD, HOLDOUT):
        assert not [text for text, count in Counter(example.message for example in examples).items() if count > 1]
        assert len({example.id for example in examples}) == len(examples)


def test_there_are_many_families_and_held_out_ones_are_never_trained_on() -> None:
    ids = [family.id for family in FAMILIES]
    assert len(set(ids)) == len(ids) >= 60
    assert set(ids) >= HELD_OUT
    train, held_out = choose("train"), choose("held-out")
    assert {family.id for family in train}.isdisjoint(family.id for family in held_out)
    assert len(train) + len(held_out) == len(ids)
    assert not {text for family in train for text in family.texts} & {t for family in held_out for t in family.texts}
    assert {example.family for example in generate(400, 1, train)}.isdisjoint(HELD_OUT)
    assert {example.answer.intent for example in generate(400, 1, held_out)} == set(INTENTS)


def test_generated_examples_are_right() -> None:
    wrong = [f"{example.id} {problem}" for example in GENERATED for problem in check.problems(example)]
    assert not wrong, "\n".join(wrong[:20])


@pytest.mark.parametrize("example", WRITTEN, ids=named)
def test_gold_and_holdout_are_right(example: Example) -> None:
    assert not check.problems(example)
    assert example.why


def test_gold_and_holdout_are_large_enough() -> None:
    assert len(GOLD) >= 150
    assert len(HOLDOUT) >= 200


@pytest.mark.parametrize(("examples", "least"), [(GENERATED, 0.03), (GOLD, 0.05), (HOLDOUT, 0.04)])
def test_labels_are_balanced_enough(examples: list[Example], least: float) -> None:
    intents = Counter(example.answer.intent for example in examples)
    actions = Counter(example.answer.action for example in examples)
    priorities = Counter(example.answer.priority for example in examples)
    assert min(intents[intent] for intent in INTENTS) >= least * len(examples), intents
    assert min(actions[action] for action in ("answer", "ask", "handoff")) >= 0.12 * len(examples), actions
    assert min(priorities[priority] for priority in PRIORITIES) >= 0.03 * len(examples), priorities
    assert {slot for example in examples for slot in example.answer.missing} == set(SLOTS)


def test_every_paragraph_that_decides_something_has_examples_and_nothing_else_is_cited() -> None:
    paragraphs = set(re.findall(r"^(\d+\.\d+) ", POLICY, re.MULTILINE))
    how_to_read = {"2.1", "2.3", "2.4", "2.5", "2.6"}  # they decide which order and item, not what is answered
    for examples in (GENERATED, GOLD, HOLDOUT):
        assert {rule for example in examples for rule in example.rules} == paragraphs - how_to_read


def test_policy_schema_and_code_name_the_same_things() -> None:
    schema = msgspec.json.decode((HERE / "schema.json").read_bytes())["properties"]
    assert schema["intent"]["enum"] == list(INTENTS)
    assert schema["missing"]["items"]["enum"] == list(SLOTS)
    assert schema["priority"]["enum"] == list(PRIORITIES)
    assert list(schema) == list(Answer.__struct_fields__)
    ranked = re.search(r"The first in this list is answered.*?: (.*?)\.", POLICY, re.DOTALL)
    assert ranked is not None
    assert tuple(re.split(r",\s+", ranked[1])) == INTENTS
    prompt = (HERE / "prompt.md").read_text()
    assert all(name in prompt for name in (*INTENTS, *SLOTS, *PRIORITIES))


# Near duplicates.


def shingles(text: str) -> frozenset[str]:
    words = re.findall(r"\w+", text.lower())
    return frozenset(" ".join(words[at : at + 3]) for at in range(max(1, len(words) - 2)))


def nearest(texts: list[str], others: list[str]) -> tuple[float, str, str]:
    """The pair of the highest Jaccard similarity. Only pairs that share a shingle are looked at."""
    sets = [shingles(text) for text in others]
    having = defaultdict(list)
    for at, parts in enumerate(sets):
        for part in parts:
            having[part].append(at)
    best = (0.0, "", "")
    for text in texts:
        mine = shingles(text)
        shared = Counter(at for part in mine for at in having.get(part, ()))
        for at, count in shared.items():
            best = max(best, (count / (len(mine) + len(sets[at]) - count), text, others[at]))
    return best


@pytest.mark.parametrize("examples", [GOLD, HOLDOUT], ids=["gold", "holdout"])
def test_gold_and_holdout_are_no_copies_of_the_templates(examples: list[Example]) -> None:
    bare = [text for family in FAMILIES for text in family.texts]
    messages = [example.message for example in examples]
    for others in (bare, [example.message for example in GENERATED]):
        similarity, mine, other = nearest(messages, others)
        assert similarity < 0.5, (mine, other)


def test_gold_and_holdout_do_not_share_messages() -> None:
    similarity, mine, other = nearest([e.message for e in GOLD], [e.message for e in HOLDOUT])
    assert similarity < 0.5, (mine, other)


def test_near_duplicates_would_be_found() -> None:
    text = GOLD[0].message
    assert nearest([text], [HOLDOUT[0].message, text.replace("Morning", "Evening")])[0] > 0.7


# Personal data.


def test_all_kinds_of_personal_data_are_planted() -> None:
    counts = Counter(planted.kind for example in GENERATED for planted in example.pii)
    assert set(counts) == set(pii.KINDS)
    assert min(counts.values()) > 50
    ids = [planted.id for example in GENERATED for planted in example.pii]
    assert len(set(ids)) == len(ids)


def test_planted_numbers_have_the_check_digits_of_real_ones() -> None:
    says = {"card": "card ", "iban": "IBAN ", "phone": "call ", "email": "", "ip": "", "national_id": ""}
    kinds = {"ip": "ipv4"}
    for planted in (planted for example in GENERATED for planted in example.pii if planted.kind in says):
        found = pii_find.find(says[planted.kind] + planted.value)
        assert [span.kind for span in found] == [kinds.get(planted.kind, planted.kind)], planted


def test_replies_repeat_no_personal_data() -> None:
    for example in (*GENERATED, *WRITTEN):
        for planted in example.pii:
            assert planted.value.casefold() not in example.answer.reply.casefold(), example.id


# The checker finds what is wrong.


def example_of(rule: str) -> Example:
    return next(example for example in GOLD if example.rules == (rule,) and example.reading.lang == "en")


def with_reply(change: Callable[[str], str]) -> Callable[[Answer], Answer]:
    return lambda given: msgspec.structs.replace(given, reply=change(given.reply))


def having(**fields: Any) -> Callable[[Answer], Answer]:
    return lambda given: msgspec.structs.replace(given, **fields)


@pytest.mark.parametrize(
    ("rule", "change", "found"),
    [
        ("4.2", having(intent="delivery"), "schema: "),
        ("4.2", having(intent="not_received"), "intent: "),
        ("4.2", having(order_id="LF-000001"), "order_id: "),
        ("4.2", having(items=("tent-4p",)), "items: "),
        ("4.2", having(priority="urgent"), "priority: "),
        ("4.2", having(action="handoff"), "action: "),
        ("7.4", having(missing=()), "missing: "),
        ("4.2", with_reply(lambda text: text + " We guarantee it."), "voice: banned phrase"),
        ("4.2", with_reply(lambda text: text + " Enjoy!"), "voice: tone: 1 exclamation"),
        ("4.2", with_reply(lambda text: "Certainly. " + text), "voice: tone: opens with"),
        ("4.2", with_reply(lambda text: text + " I will look."), "voice: says I"),
        ("4.2", with_reply(lambda text: text + " Call 020 7946 0311."), "voice: personal data"),
        ("4.2", with_reply(lambda text: re.sub(r"\d+ November", "1 November", text)), "reply: 1 November is no day"),
        ("4.2", with_reply(lambda text: text.replace("LF-", "order ")), "reply: names order none"),
        ("4.2", with_reply(lambda text: text + " It costs 12.50 EUR."), "reply: 12.50 EUR"),
        ("7.1", with_reply(lambda text: text.replace("10 days", "14 days")), "reply: 14 days"),
        ("7.2", with_reply(lambda text: text[:14] + " LF-290114 can be sent back."), "reply: 7.2 refuses"),
        ("7.4", with_reply(lambda text: "Please help us with order LF-347781."), "reply: does not ask for item"),
        ("7.4", with_reply(lambda text: text + " Please send a photo, too."), "reply: asks for photo"),
        ("1.1", with_reply(lambda text: text + " Order LF-771204 is fine."), "reply: names order"),
        ("4.4", with_reply(lambda text: text.replace("colleague", "person")), "reply: a colleague"),
        ("4.4", with_reply(lambda text: text.replace("one working day", "an hour")), "reply: a handoff says"),
        ("3.1", with_reply(lambda text: text.replace("stop using", "look at")), "reply: of danger"),
    ],
)  # fmt: skip
def test_the_checker_finds(rule: str, change: Callable[[Answer], Answer], found: str) -> None:
    example = example_of(rule)
    changed = msgspec.structs.replace(example, answer=change(example.answer))
    assert changed.answer != example.answer
    assert any(problem.startswith(found) for problem in check.problems(changed)), check.problems(changed)


def test_the_checker_says_what_is_wrong_in_a_file(tmp_path: Path) -> None:
    example = GOLD[0]
    wrong = msgspec.structs.replace(example, answer=having(priority="urgent")(example.answer))
    (tmp_path / "wrong.jsonl").write_bytes(msgspec.json.encode(wrong) + b"\n")
    command: list[str | Path] = [sys.executable, HERE / "check.py", tmp_path / "wrong.jsonl"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert run.returncode == 1
    assert f"{example.id}: priority: the policy (4.2) has 'normal', the answer 'urgent'" in run.stdout


# The world and its policy at their edges.


def test_each_period_ends_on_its_last_day() -> None:
    returns = next(example for example in GOLD if example.rules == ("7.1",))
    refund = next(example for example in GOLD if example.rules == ("9.1",))
    late = next(example for example in GOLD if example.rules == ("4.3",))
    for example, state, days, rules in (
        (returns, "delivered", (30, 31), ("7.1", "7.2")),
        (refund, "returned", (10, 11), ("9.1", "9.2")),
        (refund, "refunded", (7, 8), ("9.3", "9.4")),
        (late, "shipped", (0, -1, -7, -8), ("4.2", "4.3", "4.3", "4.4")),
        (late, "delivered", (2, 3), ("4.5", "4.6")),
    ):
        old = next(it for it in example.context.orders if it.id == example.answer.order_id)
        orders = [order(old.id, state, day, old.lines) for day in days]  # type: ignore[arg-type]
        assert [decide(example.reading, Context(orders=(it,))).rules[0] for it in orders] == list(rules)


def test_the_warranty_ends_on_the_last_day_of_a_short_month() -> None:
    delivered = order("LF-100000", "delivered", (TODAY - TODAY.replace(year=2024, month=2, day=29)).days, ())
    assert str(warranty_end(delivered, line("socks"))) == "2025-02-28"
    assert str(warranty_end(delivered, line("knife"))) == "2029-02-28"


def test_a_chat_ends_with_the_answer_that_is_right() -> None:
    for example in (GENERATED[0], GOLD[0]):
        system, user, assistant = chat(example)
        assert [it["role"] for it in (system, user, assistant)] == ["system", "user", "assistant"]
        assert example.message in user["content"]
        assert all(it.id in user["content"] for it in example.context.orders)
        assert msgspec.json.decode(assistant["content"], type=Answer) == example.answer
        assert list(msgspec.json.decode(assistant["content"])) == list(Answer.__struct_fields__)


def test_examples_of_a_family_differ() -> None:
    by_family = defaultdict(list)
    for example in GENERATED:
        by_family[example.family].append(example.message)
    for family, messages in by_family.items():
        assert all(one != other for one, other in pairwise(messages)), family


def test_the_pack_is_one_that_the_gateway_reads() -> None:
    pack = read_pack(yaml.safe_load((HERE / "pack.yaml").read_text()))
    assert {entry.name for entry in pack.entries} == {"pii", "voice", "promises", "inside"}


def test_a_grade_tells_form_fields_and_reply_apart() -> None:
    example = example_of("4.2")
    right = msgspec.json.encode(example.answer).decode()
    assert check.grade(example, right) == check.Grade(
        True, dict.fromkeys(list(Answer.__struct_fields__)[:-1], True), True
    )
    assert check.grade(example, right).exact
    for broken in ("", right[:-1], f"```json\n{right}\n```", right.replace('"items"', '"things"'), "[]"):
        assert not check.grade(example, broken).valid
        assert not check.grade(example, broken).exact
    other = msgspec.structs.replace(example.answer, priority="low", reply="We promise you that it comes.")
    grade = check.grade(example, msgspec.json.encode(other).decode())
    assert (grade.valid, grade.exact, grade.reply) == (True, False, False)
    assert [field for field, fine in grade.fields.items() if not fine] == ["priority"]
