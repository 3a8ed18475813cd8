"""Facts of a request that risk is judged by, before any model has seen it, in microseconds and without a call.

A fact is worked out when a rule first asks for it, and once: a route whose rules read the tenant alone never decodes a
body for them. Everything is linear in what is looked at, and what is looked at is bounded: of a longer text its
beginning and its end are, and `unread` says so, for a rule to make of it what it will.

*What was said* is what came from outside: the messages of users and the results of tools. The system prompt is the
app's own, and the assistant's turns were answers once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from router_policies.checks import pii_find
from router_policies.checks.check import Request
from router_policies.checks.language import language
from router_policies.checks.reading import read_request
from router_policies.risk import conversation, jailbreak, tools
from router_policies.risk.once import once
from router_policies.risk.topics import EVENTS, LEXICONS, TOPICS
from router_policies.risk.words import Words, listed

if TYPE_CHECKING:
    from router_policies.risk.policy_model import PolicyModel

HEAD, TAIL = 2048, 6144  # characters of what was said, and of the last message, that are looked at
_OURS = ("system", "developer", "assistant")
_BYTES_PER_TOKEN = 4  # of prose, with the vocabularies of today; code and other scripts take more tokens
_TOKENS_PER_TURN = 4  # a chat template's own, about
# Words that hardly any other language has: with three of them, and ASCII alone, a detector need not be asked.
_ENGLISH = listed("the and you that with your this which they there would should these what where how")
_ENGLISH_ENOUGH = 3
_TELLING = LEXICONS.keys | jailbreak.WORDS


@dataclass(frozen=True, eq=False)
class RiskFacts:
    """`x_risk`: what a trusted caller says of the risk itself, "" where nothing was said or the caller is not trusted.
    `context_tokens`: the student's context, None if not known. `model`: the policy model, None without one."""

    endpoint: str
    body: bytes
    tenant: str = ""
    tags: frozenset[str] = frozenset()
    x_risk: str = ""
    context_tokens: int | None = None
    model: "PolicyModel | None" = None

    @once
    def request(self) -> Request:
        """What was asked; nothing at all if the body has a shape that cannot be read, and then it is `unread`."""
        try:
            return read_request(self.endpoint, self.body)
        except ValueError:
            return Request("")

    @once
    def outside(self) -> str:
        return "\n".join([turn.text for turn in self.request.turns if turn.role not in _OURS])

    @once
    def said(self) -> str:
        """Of what was said, what is looked at."""
        return _within(self.outside)

    @once
    def words(self) -> Words:
        return Words.of(self.said)

    @once
    def telling(self) -> frozenset[str]:
        """The words that lexicons and patterns look for: the others, which are most, are passed over once for all."""
        return _TELLING & self.words.set

    @once
    def last(self) -> str:
        """Of the last message of the user, what is looked at."""
        return _within(self.request.last_user)

    @once
    def last_words(self) -> Words:
        return self.words if self.last == self.said else Words.of(self.last)

    @once
    def terms(self) -> frozenset[str]:
        """The lexicons that have enough in what was said, and `last_terms` in the last message."""
        return LEXICONS.find(self.words, self.telling)

    @once
    def last_terms(self) -> frozenset[str]:
        return self.terms if self.last_words is self.words else LEXICONS.find(self.last_words)

    # Size and shape.

    @once
    def unread(self) -> bool:
        return not self.request.endpoint or len(self.outside) > HEAD + TAIL

    @once
    def tokens(self) -> int:
        """Of the prompt, about."""
        texts = [turn.text for turn in self.request.turns]
        size = sum([len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts])
        return size // _BYTES_PER_TOKEN + _TOKENS_PER_TURN * len(texts)

    @once
    def context_share(self) -> float:
        """Of the student's context that the prompt and the longest answer it asks for may take; 0 if not known."""
        if not self.context_tokens:
            return 0.0
        return (self.tokens + max(self.request.max_tokens or 0, 0)) / self.context_tokens

    @once
    def turns(self) -> int:
        """Of user and assistant."""
        return sum([turn.role in ("user", "assistant") for turn in self.request.turns])

    @once
    def tools(self) -> frozenset[str]:
        """The names of those that are declared and that the app carries out."""
        return frozenset(self.request.asked.tools)

    @once
    def side_effects(self) -> frozenset[str]:
        """Of `tools`, those whose name says that they change something."""
        return tools.side_effects(self.tools) if self.tools else self.tools

    @once
    def schema_depth(self) -> int:
        """Of the answer's schema, or of the deepest of the tools' parameters."""
        asked = self.request.asked
        if asked.schema is None and not asked.tools:
            return 0
        return max(map(tools.depth, (asked.schema, *asked.tools.values())))

    @once
    def json(self) -> bool:
        return self.request.asked.json

    @once
    def vision(self) -> bool:
        """Whether there is an image in it."""
        return _has_image(self.body)

    # What it is about.

    @once
    def language(self) -> str:
        """ISO 639-1, of the last message of the user; "" where it cannot be told."""
        if self.last.isascii() and len(_ENGLISH & self.last_words.set) >= _ENGLISH_ENOUGH:
            return "en"
        return language(self.last) or ""

    @once
    def found(self) -> frozenset[str]:
        """Kinds of personal data and of secrets in what was said."""
        return frozenset([span.kind for span in pii_find.find(self.said)])

    @once
    def pii(self) -> frozenset[str]:
        return self.found - pii_find.SECRETS

    @once
    def secrets(self) -> frozenset[str]:
        return self.found & pii_find.SECRETS

    @once
    def jailbreak(self) -> frozenset[str]:
        """Kinds of attempts to talk the model out of its rules."""
        return jailbreak.find(self.said, self.words, self.telling)

    @once
    def topics(self) -> frozenset[str]:
        return self.terms & TOPICS

    @once
    def events(self) -> frozenset[str]:
        """What happens between a customer and the company, by the last message."""
        return self.last_terms & EVENTS

    @once
    def code(self) -> bool:
        return "code" in self.last_terms or conversation.has_code(self.last, self.last_words)

    @once
    def maths(self) -> bool:
        return "maths" in self.last_terms or conversation.has_maths(self.last)

    # How it goes.

    @once
    def reasked(self) -> int:
        """How many earlier messages of the user ask the same."""
        return conversation.reasked(self.request.turns)

    @once
    def dissatisfied(self) -> bool:
        """Whether the user says that the answers so far are no good, or asks for a human."""
        return "dissatisfied" in self.last_terms

    @once
    def questions(self) -> int:
        """Question marks, in the last message."""
        return conversation.questions(self.last)

    @once
    def steps(self) -> int:
        """Things to do, in the last message."""
        return conversation.steps(self.last, self.last_words)

    # What the policy model says.

    @once
    def probabilities(self) -> Mapping[str, float]:
        """By label; of no label without a model."""
        return self.model.probabilities(self.words.all) if self.model is not None else {}

    @once
    def labels(self) -> frozenset[str]:
        """Those with at least the probability that the model's file sets for them."""
        return self.model.above(self.probabilities) if self.model is not None else frozenset()


def _within(text: str) -> str:
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def _has_image(body: bytes) -> bool:
    if b"image" not in body and not (b"\\" in body and b"\\u00" in body):  # letters, written as escapes
        return False
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    waiting: list[object] = [request.get("messages"), request.get("input")] if isinstance(request, dict) else []
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            if part.get("type") in ("image_url", "input_image"):
                return True
            waiting += (part.get("content"), part.get("output"))
    return False
