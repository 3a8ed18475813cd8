"""Second opinions on a pair: how like its answers are by an embedding, and which of them a third model prefers.

They are for people who look for pairs worth reading. They rank, and nothing else: a cosine does not see a negation, and
a judge prefers what is long, comes first or sounds like itself. So no opinion is a verdict, and nothing that decides on
a student reads one.

Every pair that was drawn for one ends with one `Outcome`, as every sample of shadow mode ends as a pair or with a
reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

import msgspec

from router_policies.shadow import Reason

LONGEST_TIMEOUT_S = 300.0  # stores know for ten minutes which record an opinion is to be added to
_LONGEST_REQUEST = 16 * 1024  # characters, of the conversation's end
LONGEST_ANSWER = 32 * 1024  # characters, that a judge is asked to read


class Kind(StrEnum):
    JUDGE = "judge"
    EMBEDDING = "embedding"


class Outcome(StrEnum):
    """What came of asking. Of a judge: `STUDENT`, `TEACHER`: it prefers that answer in either order. `TIE`: neither, in
    either order. `INCONSISTENT`: what it said depends on the order, which counts as a tie. Of an embedding: `MEASURED`.

    Of both: `IDENTICAL`, the answers are one, so nobody was asked. `UNFIT`: one of them is empty or too long to be
    asked about. `UNREADABLE`: what came is not what was asked for. `FAILED`, `TIMEOUT`, `CIRCUIT_OPEN`, `BUDGET`,
    `QUEUE_FULL`, `DISABLED`, `SHUTDOWN`: as the reasons of shadow mode."""

    STUDENT = "consistent_student"
    TEACHER = "consistent_teacher"
    TIE = "tie"
    INCONSISTENT = "inconsistent"
    MEASURED = "measured"
    IDENTICAL = "identical"
    UNFIT = "unfit"
    UNREADABLE = "unreadable"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CIRCUIT_OPEN = "circuit_open"
    BUDGET = "budget"
    QUEUE_FULL = "queue_full"
    DISABLED = "disabled"
    SHUTDOWN = "shutdown"


_OF_REASON = {Reason.TIMEOUT: Outcome.TIMEOUT, Reason.CIRCUIT_OPEN: Outcome.CIRCUIT_OPEN}


def outcome_of(failed: Reason) -> Outcome:
    """Of a call that brought no answer."""
    return _OF_REASON.get(failed, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Wanted:
    """An opinion that a route asks for. `sample`: the probability with which a pair is drawn.
    `max_nano_usd_per_day`: of all processes, a UTC day; None for no limit. `timeout_s`: from when the pair was scored,
    waiting and all calls in it. `rubric`: what a judge is to judge by, "" for its own."""

    kind: Kind
    upstream: str
    sample: float
    max_nano_usd_per_day: int | None
    timeout_s: float
    rubric: str = ""

    @property
    def rubric_key(self) -> str:
        """Opinions by one rubric may be compared with each other, those by two may not."""
        return sha256(self.rubric.encode("utf-8", "replace")).hexdigest()[:8] if self.rubric else ""


class Opinion(msgspec.Struct, frozen=True):
    """What came of asking for one, as it stands on a pair's record: no text of anybody. `by`: upstream, model and
    revision; `version`: of how it was asked, with the rubric's key. `probability`: that with which the pair was drawn.
    `similarity`: the cosine, from -1 to 1. `took_s`: from when the pair was scored."""

    kind: Kind
    outcome: Outcome
    by: str
    version: str
    probability: float
    similarity: float | None = None
    cost_nano_usd: int = 0
    took_s: float = 0.0
    detail: str = ""


# What is read of a pair's redacted texts.


class Turn(msgspec.Struct, frozen=True):
    role: str
    text: str


class Call(msgspec.Struct, frozen=True):
    name: str
    arguments: str


class Shown(msgspec.Struct, frozen=True):
    """An answer."""

    text: str
    calls: tuple[Call, ...] = ()

    @property
    def whole(self) -> str:
        """Its text, and its calls below it as a reader would write them."""
        return "\n".join(
            (*((self.text,) if self.text else ()), *(f"{one.name}({one.arguments})" for one in self.calls))
        )


class Texts(msgspec.Struct, frozen=True):
    """A pair as the store keeps it: redacted. Of the A/A arm both answers are the teacher's."""

    request: tuple[Turn, ...]
    student: Shown
    teacher: Shown

    @property
    def conversation(self) -> tuple[Turn, ...]:
        """The request, or its end if it is long, which says the most."""
        kept: list[Turn] = []
        left = _LONGEST_REQUEST
        for turn in reversed(self.request):
            if left <= 0:
                break
            kept.append(turn if len(turn.text) <= left else Turn(turn.role, f"[...]{turn.text[-left:]}"))
            left -= len(turn.text)
        return tuple(reversed(kept))


read_texts = msgspec.json.Decoder(Texts).decode
"""Raises `msgspec.ValidationError`, a ValueError."""


def review(content: float, opinions: Iterable[tuple[str, float | None]]) -> float:
    """How soon a pair is worth a look, from 0 to 1: the loudest of what the words, the embedding and the judge say.

    `content`: what `checks.content` says. `opinions`: the outcome and the similarity of each. A judge that prefers the
    teacher wants the pair read first; one that cannot make up its mind, or prefers the student, may be as wrong as a
    judge can be. The weights are a guess, and only rank.
    """
    loudest = content
    for outcome, similarity in opinions:
        apart = 0.0 if similarity is None else min(1.0, 1 - similarity)
        loudest = max(loudest, apart, _WORTH.get(outcome, 0.0))
    return loudest


_WORTH: dict[str, float] = {Outcome.TEACHER: 1.0, Outcome.INCONSISTENT: 0.5, Outcome.STUDENT: 0.3}
