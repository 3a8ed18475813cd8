"""Which answers are fit to be taught, and why the others are not. All of them stay, each with its verdict.

The first of these that finds something says so:

    refused     the teacher would not answer                                      (recorded by `ask`)
    review      a person said that it is bad                                      (see `review`)
    finish      it was cut, or a filter took part of it
    CHECK       a check of the pack fails: form first, such as its JSON schema, then what else the pack looks for
    length      too short, too long, or unlike what is said in this skill
    gold        the prompt is closed, its right answer known, and this is another one
    agreement   the teacher's other answers to this prompt say something else
    same        it says what an earlier kept one says, or enough different ones are kept

So a closed prompt keeps what gold or the majority says; an open one keeps several answers that differ. A person who
finds an answer good overrules `length` and `agreement`, which only suspect; no other.

Verdicts depend on nothing but the answers and the options: judged again, by another pack say, the set is as if it had
been judged so at first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log, sqrt
from typing import Literal

import msgspec
from msgspec import Struct

from router_policies.answers import Call
from router_policies.checks.check import Answer as Judged
from router_policies.checks.check import Outcome, Request, Severity
from router_policies.checks.pack import Pack, joined, read_pack
from router_policies.checks.reading import CHAT, read_request
from router_policies.checks.verdict import findings
from student_train.teachset.example import Answer, Example
from student_train.teachset.judge_agreement import Comparison, Reading, clusters, distinct, read

FORM: Pack = read_pack(
    {"pack": "form", "version": 1, "checks": ["empty", "finish", "json_valid", "json_schema", "tool_calls"]}
)
"""What is checked whatever the pack: it comes before the pack's own."""

KEPT = ""
_RANK = {severity: rank for rank, severity in enumerate(Severity)}
_ENOUGH = 20  # answers of a skill from which on their lengths say what is usual
_LEAST_SPREAD = 0.1  # of log tokens: where all are of one length, 10 % more is not unusual yet

Word = Literal["good", "bad"]


@dataclass(frozen=True, slots=True)
class Options:
    """`pack`: with `FORM`. `severity`: the least of a failed check that rejects. Tokens: as the endpoint counted
    them, else words. `unlike`: standard deviations of the log of tokens within a skill. `agreement`: the least share of
    a teacher's answers to a closed prompt that say the same; `overlap`: of those to an open one, the least mean F1 with
    the others. `most`: different answers kept of a teacher to a prompt."""

    pack: Pack = FORM
    severity: Severity = Severity.MEDIUM
    min_tokens: int = 1
    max_tokens: int | None = None
    unlike: float = 4.0
    agreement: float = 0.5
    overlap: float = 0.1
    most: int = 4

    @classmethod
    def of(cls, packs: Sequence[Pack], **others: object) -> "Options":
        return cls(pack=joined([FORM, *packs]), **others)  # type: ignore[arg-type]


class Verdict(Struct, frozen=True):
    """`reason`: "" for one that is kept, else a word of the module's list, ": " and what was found. `agreement`: the
    share of the teacher's other answers that say the same (open: the mean F1 with them), `fields`: the mean share of
    fields that are the same; None where there is no other."""

    reason: str
    agreement: float | None = None
    fields: float | None = None

    @property
    def word(self) -> str:
        """Fit for counting, and for the ledger: it has nothing of the answer."""
        return self.reason.partition(":")[0] or "kept"


@dataclass(slots=True)
class Lengths:
    """Of a skill: how many answers, the mean and the sum of squares of the log of their tokens (Welford)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, tokens: int) -> None:
        value = log(max(tokens, 1))
        self.count += 1
        off = value - self.mean
        self.mean += off / self.count
        self.squares += off * (value - self.mean)

    def unlike(self, tokens: int) -> float:
        """How many standard deviations this is off; 0 where too little is known."""
        if self.count < _ENOUGH:
            return 0.0
        spread = max(sqrt(self.squares / (self.count - 1)), _LEAST_SPREAD)
        return (log(max(tokens, 1)) - self.mean) / spread


def tokens(answer: Answer) -> int:
    return answer.output_tokens or len(answer.content.split())


def judge(
    example: Example,
    answers: Sequence[Answer],
    options: Options,
    lengths: Lengths | None = None,
    reviews: Mapping[tuple[str, int], Word] | None = None,
) -> list[Verdict]:
    """Of all answers to an example, in their order. `reviews`: what people said, by teacher and number."""
    gold = read(example.gold) if example.gold is not None else None
    readings = [read(answer.content, answer.tool_calls) for answer in answers]
    comparison = Comparison([*readings, *([gold] if gold else ())], options.pack)
    found: list[Verdict] = [Verdict(KEPT)] * len(answers)
    request = read_request(CHAT, request_body(example))
    for teacher in dict.fromkeys(answer.teacher for answer in answers):
        places = [at for at, answer in enumerate(answers) if answer.teacher == teacher]
        one = _Prompt(
            request,
            [answers[at] for at in places],
            [readings[at] for at in places],
            gold,
            comparison,
            options,
            lengths or Lengths(),
            {index: word for (name, index), word in (reviews or {}).items() if name == teacher},
        )
        for at, verdict in zip(places, one.verdicts(), strict=True):
            found[at] = verdict
    return found


def request_body(example: Example) -> bytes:
    """As it is asked, without the model."""
    body: dict[str, object] = {"messages": example.messages}
    if example.tools:
        body["tools"] = example.tools
    if example.response_format is not None:
        body["response_format"] = example.response_format
    return msgspec.json.encode(body)


@dataclass(slots=True)
class _Prompt:
    """One teacher's answers to one prompt."""

    request: Request
    answers: list[Answer]
    readings: list[Reading]
    gold: Reading | None
    comparison: Comparison
    options: Options
    lengths: Lengths
    reviews: Mapping[int, Word]
    reasons: list[str] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        self.reasons = [self._alone(answer) for answer in self.answers]
        agreements = self._agree()
        self._collapse()
        return [Verdict(reason, *agreement) for reason, agreement in zip(self.reasons, agreements, strict=True)]

    def _alone(self, answer: Answer) -> str:
        """What is wrong with it by itself."""
        if answer.rejected.startswith("refused"):
            return answer.rejected
        if self.reviews.get(answer.index) == "bad":
            return "review: a person found it bad"
        if answer.finish_reason in ("length", "content_filter"):
            return f"finish: {answer.finish_reason}"
        return self._checked(answer) or ("" if self._trusted(answer) else self._long(answer))

    def _checked(self, answer: Answer) -> str:
        judged = Judged(
            text=answer.content,
            calls=tuple(map(_call, range(len(answer.tool_calls)), answer.tool_calls)),
            finish_reason=answer.finish_reason or None,
        )
        for entry, finding in findings(self.options.pack, self.request, judged):
            if finding.outcome is Outcome.FAIL and _RANK[finding.severity] >= _RANK[self.options.severity]:
                at = f" at {finding.path}" if finding.path else ""
                return f"{entry.name}: {finding.evidence}{at}"
        return ""

    def _long(self, answer: Answer) -> str:
        options, count = self.options, tokens(answer)
        if count < options.min_tokens and not answer.tool_calls:
            return f"length: {count} tokens, fewer than {options.min_tokens}"
        if options.max_tokens is not None and count > options.max_tokens:
            return f"length: {count} tokens, more than {options.max_tokens}"
        unlike = self.lengths.unlike(count)
        if abs(unlike) > options.unlike:
            return f"length: {count} tokens, {unlike:+.1f} standard deviations from what is usual in this skill"
        return ""

    def _trusted(self, answer: Answer) -> bool:
        return self.reviews.get(answer.index) == "good"

    def _agree(self) -> list[tuple[float | None, float | None]]:
        """Rejects what gold or the others do not say. Those that were rejected before agree with nobody."""
        fit = [at for at, reason in enumerate(self.reasons) if not reason]
        shares: list[tuple[float | None, float | None]] = [(None, None)] * len(self.answers)
        others = len(self.answers) - 1
        found = clusters([self.readings[at] for at in fit], self.comparison)
        for cluster in found:
            for place in cluster:
                at = fit[place]
                pairs = [self.comparison.share(self.readings[at], self.readings[other]) for other in fit if other != at]
                closed = self.readings[at].closed
                if others:
                    mean = sum(pairs) / others
                    shares[at] = ((len(cluster) - 1) / others if closed else mean, mean)
                self.reasons[at] = self._lonely(at, cluster, found, shares[at][0])
        return shares

    def _lonely(self, at: int, cluster: list[int], found: list[list[int]], share: float | None) -> str:
        reading = self.readings[at]
        if self.gold is not None and self.gold.closed:
            where = self.comparison.differs(reading, self.gold)
            return f"gold: differs at {where}" if where else ""
        if share is None or self._trusted(self.answers[at]):
            return ""
        if not reading.closed:
            low = share < self.options.overlap
            return f"agreement: {share:.2f} of its words are those of the others" if low else ""
        tied = sum(len(other) == len(cluster) for other in found) > 1
        if len(cluster) / len(self.answers) < self.options.agreement or tied or len(cluster) < len(found[0]):
            return f"agreement: {len(cluster)} of {len(self.answers)} say so{', as many say else' if tied else ''}"
        return ""

    def _collapse(self) -> None:
        kept = [at for at, reason in enumerate(self.reasons) if not reason]
        kept.sort(key=lambda at: not self._trusted(self.answers[at]))  # what a person found good is never the twin
        texts = [self.comparison.prose(self.readings[at]) for at in kept]
        for place, twin in distinct(texts, self.options.most).items():
            at = kept[place]
            if twin == -1:
                self.reasons[at] = f"same: {self.options.most} that differ are kept"
            elif twin is not None:
                self.reasons[at] = f"same: as number {self.answers[kept[twin]].index}"


def _call(number: int, call: dict[str, object]) -> Call:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    return Call(f"choices.0.message.tool_calls.{number}", function.get("name"), function.get("arguments"))
