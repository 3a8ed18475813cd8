"""Traces and made examples become examples of a set: read, scrubbed, added. Nothing is written before it is scrubbed.

Session by session: all of a session is read, then learned, then masked, so that what gives a value away may come
before or after it, in whichever file. Sessions come in order of their first request, requests in order of time. What is
in the set already is not added again, and the table of a session's placeholders is kept in the set as hashes: so a run
that was killed, and the next day's traces, go on where the last left off, and the set comes out the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
from msgspec import Struct

from student_train.teachset import trace
from student_train.teachset.example import Example, Source, Split
from student_train.teachset.handling import Rules
from student_train.teachset.ledger import Json
from student_train.teachset.placeholders import Placeholders
from student_train.teachset.scrub import Scrubber
from student_train.teachset.scrub_chat import Chat, Unusable, changed
from student_train.teachset.store import Entry, TeachingSet

_BATCH = 500
_DAY_S = 86_400.0
TABLE = "placeholders"
"""The kind of a session's table of placeholders in the set; its id is the session's pseudonym."""


class Imported(Struct, frozen=True):
    """`already`: in the set before, or erased from it. `refused`: why, and how many. `masked`: by kind of the examples
    that were added."""

    read: int
    added: int
    already: int
    refused: dict[str, int]
    masked: dict[str, int]


class _Line(Struct, frozen=True, order=True):
    at: float
    id: str
    file: int
    offset: int
    frame: int
    line: int


class _Counts:
    """Mutable state of a run."""

    def __init__(self) -> None:
        self.read = self.added = self.already = 0
        self.refused: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()


def add(
    teaching: TeachingSet,
    paths: Sequence[Path],
    rules: Rules,
    *,
    key: bytes | None = None,
    split: Split | None = None,
    show: Callable[[int, int], None] = lambda done, of: None,
) -> Imported:
    """Raises `TraceError` for a file that cannot be read at all. `show` is told of lines done, and of how many."""
    counts = _Counts()
    with ExitStack() as stack:
        files = [stack.enter_context(trace.TraceFile(path, key)) for path in trace.found(list(paths))]
        sessions = _index(files, counts)
        counts.refused["breaks off"] += sum(file.broken for file in files)
        waiting: list[tuple[Entry | None, Entry, Counter[str]]] = []
        done = 0
        for lines in sessions:
            waiting += _session(teaching, files, lines, rules, split, counts)
            done += len(lines)
            if len(waiting) >= _BATCH:
                _put(teaching, waiting, counts)
                waiting = []
            show(done, counts.read)
        _put(teaching, waiting, counts)
    made = Imported(
        counts.read,
        counts.added,
        counts.already,
        dict(sorted((+counts.refused).items())),
        dict(sorted(counts.masked.items())),
    )
    teaching.note("import", {"rules": rules.digest, **msgspec.to_builtins(made)})
    return made


def _index(files: Sequence[trace.TraceFile], counts: _Counts) -> list[list[_Line]]:
    """Lines by session; one without a session is by itself. In memory: some 300 bytes a line, and no text."""
    sessions: dict[tuple[str, str], list[_Line]] = {}
    alone: list[list[_Line]] = []
    for number, file in enumerate(files):
        for spot, line in file.lines():
            counts.read += 1
            try:
                head = trace.head(line)
            except Unusable as why:
                counts.refused[str(why)] += 1
                continue
            found = _Line(head.at, head.id, number, spot.offset, spot.frame, spot.line)
            if head.session:
                sessions.setdefault((head.tenant, head.session), []).append(found)
            else:
                alone.append([found])
    return sorted([sorted(lines) for lines in sessions.values()] + alone)


def _session(
    teaching: TeachingSet,
    files: Sequence[trace.TraceFile],
    lines: Sequence[_Line],
    rules: Rules,
    split: Split | None,
    counts: _Counts,
) -> Iterator[tuple[Entry | None, Entry, Counter[str]]]:
    items: dict[str, trace.Item] = {}
    for line in lines:
        try:
            item = trace.item(files[line.file].read(trace.Spot(line.offset, line.frame, line.line)))
            _usable(item, rules)
            if items.setdefault(_id(teaching, item), item) is not item:
                raise Unusable("a second line of the same id")
        except Unusable as why:
            counts.refused[str(why)] += 1
    fresh = {id_ for id_ in items if not teaching.has("example", id_) and not teaching.was_erased(id_)}
    counts.already += len(items) - len(fresh)
    if fresh:
        yield from _scrubbed(teaching, items, fresh, rules, split, counts)


def _scrubbed(
    teaching: TeachingSet,
    items: dict[str, trace.Item],
    fresh: set[str],
    rules: Rules,
    split: Split | None,
    counts: _Counts,
) -> Iterator[tuple[Entry | None, Entry, Counter[str]]]:
    first = next(iter(items.values()))
    session = teaching.pseudonym(f"session\0{first.tenant}\0{first.session}") if first.session else ""
    stored = teaching.get(TABLE, session) if session else None
    table = Placeholders(
        teaching.pseudonym, session or next(iter(items)), None if stored is None else msgspec.json.decode(stored)
    )
    scrubber = Scrubber(table, rules.keep, lambda where, kind: rules.action(first.tenant, where, kind))
    for item in items.values():
        if len(item.user) >= 5:
            scrubber.know("user", item.user)
        _learn(scrubber, item.chat)
    made: list[tuple[Entry, Counter[str]]] = []
    for id_, item in items.items():
        scrubber.masked.clear()
        scrubber.drops.clear()
        chat = changed(item.chat, scrubber.mask)
        if id_ not in fresh:
            continue
        if scrubber.drops:
            where, kind = min(scrubber.drops)
            counts.refused[f"the rules drop what has {kind} in {where}"] += 1
            continue
        example = _example(teaching, id_, item, chat, session, rules)
        about: dict[str, Json] = {
            "source": item.kind, "rules": rules.digest[:16], "masked": dict(sorted(scrubber.masked.items())),
            **({"split": split} if split else {}),
        }  # fmt: skip
        made.append((Entry(id_, about, msgspec.json.encode(example), example.person), Counter(scrubber.masked)))
    kept = Entry(session, {}, msgspec.json.encode(table.stored()), teaching.person(first.tenant, first.user))
    for number, (entry, masked) in enumerate(made):
        yield kept if session and number == 0 else None, entry, masked


def _put(teaching: TeachingSet, waiting: Sequence[tuple[Entry | None, Entry, Counter[str]]], counts: _Counts) -> None:
    """Tables first: killed in between, the next run finds the numbers that it would have given."""
    teaching.add(TABLE, [table for table, _, _ in waiting if table is not None], replace=True)
    counts.added += teaching.add("example", [entry for _, entry, _ in waiting])
    for _, _, masked in waiting:
        counts.masked += masked


def _id(teaching: TeachingSet, item: trace.Item) -> str:
    return teaching.pseudonym(f"example\0{item.kind}\0{item.origin}\0{item.id}")


def _example(teaching: TeachingSet, id_: str, item: trace.Item, chat: Chat, session: str, rules: Rules) -> Example:
    real = item.kind == "real_trace"
    until = item.at + rules.retention_days * _DAY_S if real and rules.retention_days is not None else None
    source = Source(
        kind=item.kind,
        id=item.id,
        origin=item.origin,
        at=item.at,
        tenant=item.tenant,
        legal_basis=rules.legal_basis if real else "",
        licence=item.licence,
        retention_until=until,
        why=item.why,
        probability=item.probability,
    )
    return Example(
        id=id_,
        source=source,
        messages=chat.messages,
        tools=chat.tools,
        response_format=chat.response_format,
        person=teaching.person(item.tenant, item.user),
        session=session,
        family=item.family,
        skill=item.skill,
        gold=chat.gold,
        served=chat.served,
        served_by=item.served_by if chat.served is not None else "",
    )


def _usable(item: trace.Item, rules: Rules) -> None:
    if item.tenant in rules.drop_tenants:
        raise Unusable("a tenant that the rules leave out")
    if item.consent is not None and not set(rules.consent) <= set(item.consent):
        raise Unusable("no consent")
    said = 0

    def measure(where: str, text: str) -> str:
        nonlocal said
        said += len(text)
        if where in ("user", "tool_results"):
            asked.append(text)
        return text

    asked: list[str] = []
    changed(item.chat, measure)
    if not any(text.strip() for text in asked):
        raise Unusable("nothing asked")
    if said > rules.most_chars:
        raise Unusable("too long")


def _learn(scrubber: Scrubber, chat: Chat) -> None:
    def learn(_: str, text: str) -> str:
        scrubber.learn(text)
        return text

    changed(chat, learn)
