"""What a teaching set holds: examples, what teachers said to them, and what of it is taught. All of it is JSON."""

from typing import Any, Literal

from msgspec import Struct

Split = Literal["train", "dev", "calibration", "holdout", "gold", "left_out"]
"""`left_out`: copies, and what would link two splits: nobody learns from it, and nothing is measured on it."""


class Source(Struct, frozen=True, omit_defaults=True):
    """Where an example is from. `id`: the request's, or the generator's own; `origin`: the route, or the generator and
    its version. `at`, `retention_until`: seconds since the epoch; None: kept until somebody says otherwise.
    `probability`: that with which it was captured, and `why`: drawn like any other (`sample`), or more often than
    others because the models differed (`disagreement`) or the primary failed (`fallback`)."""

    kind: Literal["real_trace", "synthetic", "handcrafted"]
    id: str
    origin: str
    at: float
    tenant: str = ""
    legal_basis: str = ""
    licence: str = ""
    retention_until: float | None = None
    why: Literal["sample", "disagreement", "fallback"] = "sample"
    probability: float = 1.0


class Example(Struct, frozen=True, omit_defaults=True):
    """A prompt, scrubbed, and what is known of its answer. `messages`, `tools`, `response_format`: as an OpenAI chat
    completion takes them. `person` and `session`: pseudonyms under the set's key, "" where none is known. `family`: of
    the template that made it, "" for what no template made. `skill`: what teachers are compared by, such as an intent.
    `gold`: the right answer, where a person or a rule gave one; `served`: what the app was answered, by `served_by`
    (role/model). `parent`: the id of the example that this one was made from (`kind` says how), "" for one that came
    from outside: the two share source, person, session and family, stay in one split and are erased together."""

    id: str
    source: Source
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    person: str = ""
    session: str = ""
    family: str = ""
    skill: str = ""
    gold: str | None = None
    served: str | None = None
    served_by: str = ""
    kind: Literal["plain", "slot_dropped", "contradiction"] = "plain"
    parent: str = ""


class Candidate(Struct, frozen=True):
    """A token that might have come, and its log-probability (natural)."""

    token: str
    logprob: float


class Position(Struct, frozen=True):
    """One token of an answer: what came, the likeliest others, and `tail`: the log of the mass that none of them
    has."""

    token: str
    logprob: float
    top: tuple[Candidate, ...]
    tail: float


class Answer(Struct, frozen=True, omit_defaults=True):
    """What one teacher said to one prompt at one try (`index`, from 0; `seed` as it was sent). An answer is content, or
    tool calls, or both. `rejected`: why it is not taught, "" for one that may be; it stays recorded either way."""

    example: str
    teacher: str
    index: int
    seed: int
    content: str
    tool_calls: tuple[dict[str, Any], ...] = ()
    finish_reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    positions: tuple[Position, ...] = ()
    rejected: str = ""


class Target(Struct, frozen=True, omit_defaults=True):
    """An answer that is taught, and its weight among those to the same prompt (they sum to 1). `teacher`: "" for
    gold."""

    content: str
    weight: float
    teacher: str = ""
    index: int = 0
    tool_calls: tuple[dict[str, Any], ...] = ()


class Lesson(Struct, frozen=True, omit_defaults=True):
    """What is taught of an example: its targets, and the weight of each teacher for soft targets (they sum to 1)."""

    example: str
    targets: tuple[Target, ...]
    teachers: dict[str, float] = {}


class Review(Struct, frozen=True, omit_defaults=True):
    """What a person said of one answer, unblinded. `reviewer`: a pseudonym under the set's key. `better`: than the
    answer beside it, "" where nothing was said of that. `at`: seconds since the epoch."""

    example: str
    teacher: str
    index: int
    reviewer: str
    rubric: str
    decision: Literal["good", "bad", "unsure"]
    at: float
    note: str = ""
    better: Literal["", "yes", "no", "same"] = ""
