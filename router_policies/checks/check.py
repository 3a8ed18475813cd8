"""What a check is: a pure, versioned function of a request and an answer to it.

A check is one file in this package. It judges one answer by itself, where the other side's answer to the same request
may be looked at too (a leak is what neither the prompt nor the other answer has); and it says whether two answers agree
in what it looks at. Two answers that both fail agree in failing; that is no merit, but nothing the student did worse.

The teacher is not the truth: `student_worse` says that the student fails where the teacher does not.

To add one: a file here with `make` (see `Maker`), its name in `pack.IDS`, a section in docs/checks.md, a labelled test
set in tests/router_policies/checks/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol

from msgspec import Struct

from router_policies.answers import Asked, Call
from router_policies.checks.strict_json import Parsed, parse

UNFINISHED = "unfinished"  # the finish reason of a stream that ended without one
EVIDENCE_CHARS = 120


class Family(StrEnum):
    """`FORMAT` and `POLICY` verdicts gate a rollout; `CONTENT` ranks what people look at, and never gates alone."""

    FORMAT = "format"
    POLICY = "policy"
    CONTENT = "content"


class Outcome(StrEnum):
    """`NA`: the check has nothing to say of this answer, because nothing it looks at was asked for or is there."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NA = "na"


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Turn(Struct, frozen=True):
    """A message of the request. `role` as sent: system, developer, user, assistant, tool."""

    role: str
    text: str


@dataclass(frozen=True)
class Request:
    """What was asked, whichever endpoint it came by, as `/v1/chat/completions`. `asked`: the format and the tools;
    `max_tokens`: the client's own."""

    endpoint: str
    turns: tuple[Turn, ...] = ()
    asked: Asked = field(default_factory=Asked)
    max_tokens: int | None = None

    @cached_property
    def text(self) -> str:
        """All that the model was told, joined by newlines."""
        return "\n".join(turn.text for turn in self.turns)

    @cached_property
    def system(self) -> str:
        return "\n".join(turn.text for turn in self.turns if turn.role in ("system", "developer"))

    @cached_property
    def last_user(self) -> str:
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")


@dataclass(frozen=True)
class Answer:
    """What a model said. `text` is what a user would read; `refusal` the field of that name. `finish_reason` as chat
    completions have it, None if it is not known, `UNFINISHED` for a stream that broke off. `final`: the last message
    if there are several, of which those before it tell what is being done.
    What is derived from it is worked out once, whichever check asks first."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    final: str | None = None

    @cached_property
    def lowered(self) -> str:
        return self.text.casefold()

    @cached_property
    def words(self) -> tuple[str, ...]:
        return tuple(self.lowered.split())

    @cached_property
    def json(self) -> Parsed:
        """The text, or its final message, read as strict JSON."""
        return parse(self.text if self.final is None else self.final)

    @cached_property
    def arguments(self) -> tuple[Parsed, ...]:
        """Those of each of `calls`, read as strict JSON. No text at all is what some servers write for none: {}."""
        return tuple(
            parse((call.arguments if call.arguments.strip() else "{}") if isinstance(call.arguments, str) else "")
            for call in self.calls
        )


@dataclass(frozen=True, slots=True)
class Finding:
    """`path`: where in the answer (`choices.0.message.content`, `order.items.2`), "" for all of it. `evidence` is
    redacted and short: the kind of what is wrong, then ": " and names of places, at most a few of the answer's words,
    never PII or a secret. What comes before the first colon is fit for counting."""

    outcome: Outcome
    severity: Severity = Severity.MEDIUM
    path: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers differ, as `agree` may tell it; it counts as False. Neither need be wrong. Fields as those of
    `Finding`."""

    path: str = ""
    evidence: str = ""

    def __bool__(self) -> bool:
        return False


PASS = Finding(Outcome.PASS)
NA = Finding(Outcome.NA)


class Check(Protocol):
    """`id` is also its file's name, `version` changes with any change of what it finds: evidence is kept by both."""

    @property
    def id(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def family(self) -> Family: ...

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        """What is wrong with `answer`. `other` is the other side's answer, where there is one."""

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> "bool | Difference":
        """Whether the two agree in what this check looks at; if there is no more to it, whether both pass or both fail
        (`same_outcome`). A `Difference` is no that tells where."""


Maker = Callable[[Mapping[str, Any]], Check]
"""Makes a check of the options that a pack gives it: what a check's file calls `make`. Raises `ValueError`, best by way
of `options.read`: what was expected, what came."""


def same_outcome(found: tuple[Finding, Finding]) -> bool:
    return found[0].outcome is found[1].outcome


@dataclass(frozen=True, slots=True)
class CheckVerdict:
    """One check's word on a pair. `check`: the name that the pack gives it, its id unless the pack says else.
    `severity`, `path` and `evidence` are the student's if it failed, else the teacher's if that did, else those of the
    difference."""

    check: str
    version: int
    family: Family
    student: Outcome
    teacher: Outcome
    agree: bool
    student_worse: bool
    severity: Severity
    path: str = ""
    evidence: str = ""
