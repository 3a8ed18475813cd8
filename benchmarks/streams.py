"""What `rescue.py` asks, hears and judges: streams of text of which it is known what they should have been.

An engine at temperature 0 gives the same text each time it is asked alone. In a group of requests the last bit of a sum
may tip a word, on either side of a seam, and a gateway is not to blame for that. So a rescued text that is not, letter
for letter, the undisturbed one is held against a second witness: what the second engine says when it is handed the text
before the seam directly. If that differs too, right at the seam, text is there twice or missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import openai
from vllm_engine import Vllm

from gateway.engines import Engine

AnyEngine = Engine | Vllm

STREAM_S = 300.0
MAX_TOKENS = 160
LIKELIEST = 5  # tokens that an engine is asked for at a seam where the texts part
TIE_NATS = 1.0  # so close, which one is best depends on what else an engine computes at the same time
SEAM_CHARS = 12  # as far as two texts must agree after a seam; a word that is there twice or missing shows within

_FACT = {"type": "string", "maxLength": 60}
_FACTS = {
    "type": "object",
    "properties": {"place": _FACT, "facts": {"type": "array", "items": _FACT, "minItems": 4, "maxItems": 6}},
    "required": ["place", "facts"],
    "additionalProperties": False,
}
PROMPTS = (
    "Write a short story about a lighthouse keeper and a storm.",
    "Explain to a child how rain comes about, step by step.",
    "Write a Python function that returns the prime numbers below n, and explain it.",
    "List ten things to pack for a week in the mountains, one per line, each with a reason.",
    "Describe the history of the city of Rome in three paragraphs.",
    "Write a letter to a friend about a holiday by the sea.",
    "What should one know before adopting a dog? Answer in full sentences.",
    "Write a recipe for vegetable soup with numbered steps.",
)


@dataclass(frozen=True)
class Request:
    """What is asked. `form`: chat, text (a completion) or json (a chat held to a JSON schema)."""

    form: str
    prompt: str

    def body(self) -> dict[str, Any]:
        asked: dict[str, Any] = {"max_tokens": MAX_TOKENS, "temperature": 0, "stream": True}
        if self.form == "text":
            return {**asked, "prompt": f"{self.prompt}\n\n"}
        asked["messages"] = [{"role": "user", "content": self.prompt}]
        if self.form == "json":
            schema = {"name": "facts", "schema": _FACTS, "strict": True}
            asked["response_format"] = {"type": "json_schema", "json_schema": schema}
        return asked

    def continued(self, said: str, *, vllm: bool) -> dict[str, Any]:
        """The same with the beginning of its answer, as one asks an engine directly."""
        body = self.body()
        if self.form == "text":
            return {**body, "prompt": body["prompt"] + said}
        body["messages"] = [*body["messages"], {"role": "assistant", "content": said}]
        if vllm:
            body["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        return body


@dataclass
class Heard:
    """A stream as its client got it: pieces with the model that wrote each, and when (monotonic)."""

    pieces: list[tuple[str, str, float]] = field(default_factory=list)
    finish: str = ""
    error: str = ""
    ids: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        return "".join(text for text, _, _ in self.pieces)

    def by(self, model: str) -> str:
        return "".join(text for text, author, _ in self.pieces if author == model)


@dataclass(frozen=True)
class Result:
    """One stream whose engine was killed. `at`: pieces the client had then. `seam`: equal, continued (it differs from
    the undisturbed text, but not from what the second engine says directly), broken, or none (it was not rescued)."""

    form: str
    prompt: str
    how: str
    at: int
    seam_at: int
    finish: str
    error: str
    seam: str
    cut_short: bool
    gap_s: float | None
    note: str = ""

    @property
    def rescued(self) -> bool:
        return not self.error and not self.cut_short


def client_of(url: str) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=url,
        api_key="none",
        max_retries=0,
        timeout=STREAM_S,
        http_client=openai.DefaultHttpx2Client(trust_env=False),
    )


def listen(
    client: openai.OpenAI, body: dict[str, Any], model: str, at: Callable[[int], None] = lambda pieces: None
) -> Heard:
    """One stream to its end. `at` is told after each piece how many there are."""
    heard = Heard()
    create: Any = client.completions.create if "prompt" in body else client.chat.completions.create
    try:
        for chunk in create(model=model, **body):
            heard.ids.add(chunk.id)
            for choice in chunk.choices:
                text = choice.text if "prompt" in body else choice.delta.content
                if text:
                    heard.pieces.append((text, chunk.model, time.monotonic()))
                    at(len(heard.pieces))
                heard.finish = choice.finish_reason or heard.finish
    except (openai.APIError, OSError) as error:
        heard.error = f"{type(error).__name__}: {error}"
    return heard


class Judge:
    """Knows what the engines say undisturbed: asked once per engine and request, while nothing else runs."""

    def __init__(self, vllm: bool) -> None:
        self._vllm = vllm
        self._whole: dict[tuple[str, Request], Heard] = {}

    def whole(self, engine: AnyEngine, request: Request) -> Heard:
        key = (engine.alias, request)
        if key not in self._whole:
            heard = listen(client_of(engine.base_url), request.body(), engine.alias)
            if heard.error or not heard.finish:
                raise RuntimeError(f"{engine.name} did not answer undisturbed: {heard.error or 'no finish reason'}")
            self._whole[key] = heard
        return self._whole[key]

    def was_whole(self, engine: AnyEngine, request: Request, heard: Heard) -> bool:
        """Whether the engine had said all of it by itself: it was killed too late."""
        return _same(heard, self.whole(engine, request)) and heard.text == heard.by(engine.alias)

    def result(
        self, request: Request, heard: Heard, how: str, at: int, killed_at: float, first: AnyEngine, second: AnyEngine
    ) -> Result:
        reference = self.whole(first, request)
        before, after = heard.by(first.alias), heard.by(second.alias)
        later = [when for _, author, when in heard.pieces if author == second.alias]
        seam, note, all_said = self._seam(request, heard, before, after, reference, second)
        # Shown as whole, but a finish reason is lacking, or it stops where the undisturbed text goes on, and where the
        # second engine, asked directly, goes on too: a model that is given its words back may find that it is done.
        stops_early = reference.text.startswith(heard.text) and len(heard.text) < len(reference.text)
        cut_short = not heard.error and (not heard.finish or (stops_early and not all_said))
        return Result(
            form=request.form,
            prompt=request.prompt,
            how=how,
            at=at,
            seam_at=len(before),
            finish=heard.finish,
            error=heard.error,
            seam=seam,
            cut_short=cut_short,
            gap_s=round(later[0] - killed_at, 3) if later else None,
            note=note,
        )

    def _seam(
        self, request: Request, heard: Heard, before: str, after: str, reference: Heard, second: AnyEngine
    ) -> tuple[str, str, bool]:
        """What the seam is, a note, and whether the second engine, asked directly, ends where this answer does."""
        if len(heard.ids) > 1:
            return "broken", f"the answer changes its id: {sorted(heard.ids)}", False
        if "".join(text for text, _, _ in heard.pieces) != before + after:
            return "broken", "the second engine's text is not all after the first one's", False
        if heard.error:
            return "none", "", False
        if _same(heard, reference):
            return "equal", "", False
        direct = listen(client_of(second.base_url), request.continued(before.rstrip(), vllm=self._vllm), second.alias)
        blanks = before[len(before.rstrip()) :]
        expected = direct.text.removeprefix(blanks)
        agree = _agreement(expected, after)
        all_said = expected == after and direct.finish == heard.finish == "stop"
        parts_at = _agreement(heard.text, reference.text) - len(before)
        note = f"differs {parts_at:+d} characters from the seam; the second engine says the same for {agree}"
        if agree >= min(SEAM_CHARS, len(after), len(expected)) and (agree or not after):
            return "continued", note, all_said
        if (behind := self._behind(request, before, after, second)) is not None and behind <= TIE_NATS:
            return "continued", f"{note}; a tie: its first word is {behind:.2f} nats behind the best", False
        whole = self.whole(second, request).text  # asked anew: then its own whole text is what must go on
        if whole.startswith((before + after)[: len(whole)]):
            return "equal", "to what the second engine says from the start", all_said
        return "broken", f"{note}: {before[-20:]!r} | {after[:20]!r}, expected {expected[:20]!r}", False

    def _behind(self, request: Request, before: str, after: str, second: AnyEngine) -> float | None:
        """How much less likely the first token after the seam is than the best one, in nats, as the second engine has
        it when it is handed the text before the seam. None if that is not among its likeliest."""
        body = {**request.continued(before.rstrip(), vllm=self._vllm), "stream": False, "max_tokens": 1}
        body.pop("stream_options", None)
        client: Any = client_of(second.base_url)
        if request.form == "text":
            choice = client.completions.create(model=second.alias, **body, logprobs=LIKELIEST).choices[0]
        else:
            choice = client.chat.completions.create(
                model=second.alias, **body, logprobs=True, top_logprobs=LIKELIEST
            ).choices[0]
        told = _likeliest(choice.logprobs.model_dump() if choice.logprobs else {})
        blanks = before[len(before.rstrip()) :]
        said = [
            value for token, value in told.items() if token and after.startswith(token.removeprefix(blanks) or token)
        ]
        return max(told.values()) - max(said) if said else None


def _likeliest(logprobs: dict[str, Any]) -> dict[str, float]:
    """The likeliest first tokens, as a chat tells them, and llama.cpp in completions too; else as OpenAI's do."""
    if content := logprobs.get("content"):
        return {one["token"]: one["logprob"] for one in content[0]["top_logprobs"]}
    return (logprobs.get("top_logprobs") or [{}])[0]


def _same(heard: Heard, reference: Heard) -> bool:
    """Letter for letter. What ends at its limit of tokens may be a little longer after a rescue: a piece of text does
    not tell of how many tokens it was made."""
    if heard.text == reference.text:
        return True
    return heard.finish == reference.finish == "length" and heard.text.startswith(reference.text)


def _agreement(one: str, other: str) -> int:
    """How many characters they begin with in common."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
