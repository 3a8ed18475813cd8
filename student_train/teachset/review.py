"""A blinded review: people say which answers are good without knowing whose they are.

`cases` picks what they see: every prompt on which the answers disagree, and of the rest a slice in which each skill has
its share. `blind` writes each as a case with two sides, and keeps apart, in the key, what they are. In the review file
nothing tells the sides apart: which is A is drawn, the cases are shuffled, their ids are hashes of one length under a
secret that only the key has, and JSON answers are written in one way. (How an answer is worded may still give a teacher
away to who knows it.)

A person fills, of each case and with any tool, `decision_a` and `decision_b` (good, bad, unsure), if they like `better`
(a, b, same) and `note`, and always `reviewer`. Several people: each fills a copy. `unblind` says all that is wrong with
a filled file, by line, before anything of it counts.

This format is the console's too. JSON lines, or CSV with a header for spreadsheets:

    {"case": "9f2c41d07e5ab836", "prompt": "…", "a": "…", "b": "…", "decision_a": "", "decision_b": "",
     "better": "", "note": "", "reviewer": ""}
"""

import csv
import hashlib
import hmac
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal

import msgspec
from msgspec import Struct

from router_policies.checks.pack import Pack
from student_train.teachset.example import Answer, Example, Review
from student_train.teachset.judge_agreement import Comparison, clusters, read

RUBRIC = "good-bad-unsure/1"
DECISIONS = ("good", "bad", "unsure")
_BETTER = ("", "a", "b", "same")
_FILLED = ("decision_a", "decision_b", "better", "note", "reviewer")
_FORMAT = "understudy-review-key/1"
_SHOWN = ("prompt", "a", "b")


class ReviewError(ValueError):
    """A line for each problem: which line of the file, what was expected, what came."""


class Pick(Struct, frozen=True):
    """An example and the answers to show: two, or the only one there is. `disagree`: what they say is not the same."""

    example: Example
    answers: tuple[Answer, ...]
    disagree: bool


class Seen(Struct, frozen=True):
    """What `cases` has to know of an example."""

    example: str
    skill: str
    disagree: bool


class Case(Struct, frozen=True):
    case: str
    prompt: str
    a: str
    b: str
    decision_a: str = ""
    decision_b: str = ""
    better: str = ""
    note: str = ""
    reviewer: str = ""


class Side(Struct, frozen=True):
    teacher: str
    index: int


class Hidden(Struct, frozen=True):
    """What a case is. `shown`: a hash of what people see, so that a change of it is noticed."""

    example: str
    a: Side
    b: Side | None
    shown: str
    disagree: bool = False


class Key(Struct, frozen=True):
    """`secret`: hex; all draws come from it, so it stays with the key."""

    secret: str
    cases: dict[str, Hidden]
    format: Literal["understudy-review-key/1"] = "understudy-review-key/1"


def pick(example: Example, answers: Sequence[Answer], pack: Pack, secret: str) -> Pick | None:
    """Which two answers to show; None where there is none. Of answers that say different things one of each of two
    kinds, from two teachers if that can be; of the rest two teachers', or two of one. What a teacher refused or left
    empty is not shown."""
    shown = [
        one for one in answers if (one.content.strip() or one.tool_calls) and not one.rejected.startswith("refused")
    ]
    if not shown:
        return None
    readings = [read(one.content, one.tool_calls) for one in shown]
    groups = clusters(readings, Comparison(readings, pack))
    random = Random(f"{secret}:{example.id}")  # noqa: S311 - who knows the secret has the key anyway
    order = random.sample(range(len(shown)), len(shown))
    first = shown[order[0]]
    kind = next(set(group) for group in groups if order[0] in group)
    others = sorted(
        order[1:], key=lambda at: (at in kind, shown[at].teacher == first.teacher)
    )  # stable: else as they were drawn
    return Pick(example, (first, *(shown[at] for at in others[:1])), _disagree(readings, groups))


def cases(seen: Iterable[Seen], count: int, secret: str) -> list[str]:
    """The examples to show: all that disagree, and `count` of the others, shared among skills as evenly as there are
    some, drawn by `secret`."""
    chosen: list[str] = []
    rest: dict[str, list[str]] = {}
    for one in seen:
        (chosen if one.disagree else rest.setdefault(one.skill, [])).append(one.example)
    random = Random(secret)  # noqa: S311 - who knows the secret has the key anyway
    for skill in sorted(rest):
        rest[skill].sort()
        random.shuffle(rest[skill])
    until = len(chosen) + count
    while len(chosen) < until and any(rest.values()):
        for skill in sorted(rest):
            if rest[skill] and len(chosen) < until:
                chosen.append(rest[skill].pop())
    return chosen


def blind(picks: Iterable[Pick], secret: str) -> tuple[list[Case], Key]:
    """The review and its key."""
    found: list[tuple[Case, Hidden]] = []
    for one in picks:
        name = _mac(secret, f"case:{one.example.id}")[:16]
        sides = list(one.answers)
        if int(_mac(secret, f"side:{one.example.id}")[:2], 16) % 2:
            sides.reverse()
        case = Case(name, _prompt(one.example), _answer(sides[0]), _answer(sides[1]) if len(sides) > 1 else "")
        found.append((case, _hidden(one, sides, case)))
    found.sort(key=lambda pair: _mac(secret, f"order:{pair[0].case}"))
    return [case for case, _ in found], Key(secret, {case.case: hidden for case, hidden in found})


def write_review(path: Path, blinded: Sequence[Case]) -> None:
    """CSV or JSON lines, by the ending. Raises `FileExistsError`: somebody may have filled it."""
    rows = [msgspec.to_builtins(case) for case in blinded]
    with path.open("x", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, Case.__struct_fields__)
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_key(path: Path, key: Key) -> None:
    """Readable by its owner only. Raises `FileExistsError`: without the old key the old review is worth nothing."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(key), indent=1) + b"\n")


def read_key(path: Path) -> Key:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Key)
    except (OSError, msgspec.DecodeError) as error:
        raise ReviewError(f"{path}: expected the key that `review write` made: {error}") from None


def unblind(path: Path, key: Key, at: float) -> tuple[list[Review], int]:
    """What people said, `reviewer` as they wrote it, and how many cases nobody has filled. `at`: for each, seconds
    since the epoch. Raises `ReviewError` with everything that is wrong."""
    problems: list[str] = []
    found: list[Review] = []
    seen: dict[tuple[str, str], int] = {}
    blank = 0
    for number, row in _rows(path, problems):
        wrong = _wrong(row, key)
        said = {name: _said(row, name) for name in _FILLED}
        if wrong is None and not any(said.values()):
            blank += 1
            continue
        wrong = wrong or _unfilled(said, key.cases[row["case"]])
        where = (str(row.get("case")), said["reviewer"].casefold())
        if wrong is None and where in seen:
            wrong = f"expected one line for each case and reviewer, line {seen[where]} has this one too"
        if wrong is not None:
            problems.append(f"{path}:{number}: {wrong}")
            continue
        seen[where] = number
        found += _reviews(said, key.cases[row["case"]], at)
    if problems:
        raise ReviewError("\n".join(problems))
    return found, blank


def _disagree(readings: Sequence[Any], groups: Sequence[Sequence[int]]) -> bool:
    """Of closed answers: not all say the same. Of texts no two are the same, which is no disagreement."""
    return len(groups) > 1 and any(reading.closed for reading in readings)


def _prompt(example: Example) -> str:
    turns = [f"[{message.get('role', '')}]\n{_content(message)}" for message in example.messages]
    if example.tools:
        turns.insert(0, "[tools]\n" + _written(list(example.tools)))
    return "\n\n".join(turns)


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    text = content if isinstance(content, str) else "" if content is None else _written(content)
    calls = message.get("tool_calls")
    return "\n".join(filter(None, (text, _written(calls) if calls else "")))


def _answer(answer: Answer) -> str:
    """JSON in one form: members by name, indented alike, no ids of calls: engines have their own style in these."""
    reading = read(answer.content, answer.tool_calls)
    if not reading.closed:
        return answer.content.strip()
    text = answer.content.strip() + "\n" if answer.tool_calls and answer.content.strip() else ""
    return text + _written(reading.value)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)


def _hidden(one: Pick, sides: list[Answer], case: Case) -> Hidden:
    a, b = (Side(side.teacher, side.index) for side in (sides[0], sides[-1]))
    return Hidden(one.example.id, a, b if len(sides) > 1 else None, _shown(msgspec.to_builtins(case)), one.disagree)


def _shown(row: dict[str, Any]) -> str:
    """Spreadsheets change line ends, and blanks at the ends; that is no change."""
    parts = ["\n".join(line.rstrip() for line in str(row.get(name) or "").strip().splitlines()) for name in _SHOWN]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _mac(secret: str, what: str) -> str:
    return hmac.new(bytes.fromhex(secret), what.encode(), hashlib.sha256).hexdigest()


def _rows(path: Path, problems: list[str]) -> Iterable[tuple[int, dict[str, Any]]]:
    """With the number of the line that each ends on."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReviewError(f"{path}: expected a filled review in UTF-8: {error}") from None
    if path.suffix == ".csv":
        yield from _csv_rows(path, text, problems)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                problems.append(f"{path}:{number}: expected a JSON object, this is no JSON: {error}")
                continue
            if isinstance(row, dict):
                yield number, row
            else:
                problems.append(f"{path}:{number}: expected a JSON object, got {type(row).__name__}")


def _csv_rows(path: Path, text: str, problems: list[str]) -> Iterable[tuple[int, dict[str, Any]]]:
    """Spreadsheets in some countries write semicolons."""
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",")
    missing = set(Case.__struct_fields__) - set(reader.fieldnames or ())
    if missing:
        problems.append(
            f"{path}:1: expected columns {', '.join(Case.__struct_fields__)}, not there: {', '.join(sorted(missing))}"
        )
        return
    for row in reader:
        yield reader.line_num, row


def _said(row: dict[str, Any], name: str) -> str:
    text = str(row.get(name) or "").strip()
    return text if name in ("note", "reviewer") else text.lower()


def _wrong(row: dict[str, Any], key: Key) -> str | None:
    hidden = key.cases.get(str(row.get("case")))
    if hidden is None:
        return f"case: expected one of the {len(key.cases)} of this key, got {row.get('case')!r}: is it another key's?"
    if _shown(row) != hidden.shown:
        return "prompt, a, b: expected what `review write` wrote, it was changed"
    return None


def _unfilled(said: dict[str, str], hidden: Hidden) -> str | None:
    sides = ("decision_a", "decision_b") if hidden.b is not None else ("decision_a",)
    for name in sides:
        if said[name] not in DECISIONS:
            return f"{name}: expected one of {', '.join(DECISIONS)}, got {said[name]!r}"
    if hidden.b is None and said["decision_b"]:
        return "decision_b: expected nothing, there is no b"
    if said["better"] not in _BETTER or (said["better"] and hidden.b is None):
        expected = "a, b, same or nothing" if hidden.b is not None else "nothing, there is no b"
        return f"better: expected {expected}, got {said['better']!r}"
    if not said["reviewer"]:
        return "reviewer: expected who decided this, got nothing"
    return None


def _reviews(said: dict[str, str], hidden: Hidden, at: float) -> list[Review]:
    chosen = said["better"]
    found = []
    for letter, side in (("a", hidden.a), ("b", hidden.b)):
        if side is not None:
            better = chosen if chosen in ("", "same") else "yes" if chosen == letter else "no"
            given = {"decision": said[f"decision_{letter}"], "better": better, "note": said["note"], "at": at}
            whose = {"example": hidden.example, "teacher": side.teacher, "index": side.index}
            found.append(msgspec.convert({**whose, **given, "reviewer": said["reviewer"], "rubric": RUBRIC}, Review))
    return found
