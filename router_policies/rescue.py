"""Going on with an answer that broke off after part of it was sent.

    said = Transcript()                        # told of every chunk that goes to the client
    asked = continuation(path, request, said, upstream.continues, tokens_sent)     # what to ask the next upstream
    seam = Seam(said, asked.mode)              # and what of its answer is the rest
    seam.feed(chunk)                           # -> the chunk to relay, None, or Mismatch

There are two ways. `CONTINUE`: the engine is given the text so far and goes on with it; nothing can be compared, so it
is done only where the text is all there is. `ANEW`: the same request again; the new answer is dropped as far as it
repeats, character for character, what was sent, and the rest is relayed. An answer that differs is refused before any
of it goes out: half of one answer and half of another is worse than an error.

JSON is between the two. Given a beginning, vLLM starts its grammar anew, llama.cpp goes on with it; so one is asked
anew, and the other to continue (`CONTINUE_JSON`), but what it says must make the whole valid before its end is relayed.

Whitespace at the end of the text so far is not given to the engine: templates trim it, and a model that would have
written " word" as one token goes on badly after a space. It then comes once more at the beginning of the rest, where
the part that is already there is dropped.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from router_policies.capabilities import Continues
from router_policies.seam import THOUGHTS, Mismatch, Mode, Seam
from router_policies.transcript import NO_TOOL, Json, Key, Transcript

__all__ = ["CHAT", "COMPLETIONS", "Asked", "Mismatch", "Mode", "Refusal", "Seam", "Transcript", "continuation"]

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
_FIELDS = {CHAT: "content", COMPLETIONS: "text"}  # where an answer's text is, by path


@dataclass(frozen=True, slots=True)
class Asked:
    """The request for the rest. `because`: why it is asked anew."""

    mode: Mode
    request: Json
    because: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The rest cannot be asked for."""

    reason: str


_JSON_FORMS = ("json_object", "json_schema")
_GRAMMARS = (  # besides `response_format`: llama.cpp's, vLLM's, and vLLM's of old
    *("grammar", "json_schema"),
    *("structured_outputs", "structural_tag"),
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar"),
)
_GRAMMAR = "it is held to a grammar, which would begin anew"
_MORE = ("echo", "suffix", "prompt_logprobs", "return_token_ids", "use_beam_search")


def continuation(path: str, request: Json, said: Transcript, how: Continues, tokens_sent: int) -> Asked | Refusal:
    """The request that makes an upstream go on with what was `said` to `request`; neither is changed.

    `how` is what that upstream can do. `tokens_sent` is what the text has used of `max_tokens`; at least one token is
    left, or the engine would refuse.
    """
    field = _FIELDS.get(path)
    if field is None:
        return Refusal(f"an answer of {path} cannot be continued")
    if said.lost:
        return Refusal(said.lost)
    modalities = request.get("modalities")
    if request.get("audio") or (isinstance(modalities, list) and "audio" in modalities):
        return Refusal("it is spoken")
    fields = said.fields()
    whole = said.text(field)
    text = whole.rstrip()
    left = _what_is_left(request, tokens_sent - _tokens_of(whole[len(text) :]))
    if not text and not said.heads and not said.finished and fields.keys() <= {(0, field, NO_TOOL)}:
        return Asked(Mode.CONTINUE, request)
    mode = Mode.CONTINUE_JSON if _asks_for_json(request) else Mode.CONTINUE
    obstacle = _obstacle(said, fields, field) or _demands(request)
    if mode is Mode.CONTINUE_JSON and not (path == CHAT and how is Continues.PREFILL):
        obstacle = obstacle or _GRAMMAR
    if obstacle:
        return Asked(Mode.ANEW, request, obstacle)
    if path == COMPLETIONS:
        prompt = request.get("prompt")
        if not isinstance(prompt, str):
            return Asked(Mode.ANEW, request, "the prompt is not one text")
        return Asked(Mode.CONTINUE, {**request, **left, "prompt": prompt + text})
    if how is Continues.NO:
        return Asked(Mode.ANEW, request, "the upstream does not continue answers")
    messages = _with_text(request, text, how)
    if messages is None:
        return Asked(Mode.ANEW, request, "the messages end with one that no text can be added to")
    flags: Json = {"continue_final_message": True, "add_generation_prompt": False} if how is Continues.VLLM else {}
    return Asked(mode, {**request, **left, **flags, "messages": messages})


def _obstacle(said: Transcript, fields: Mapping[Key, str], field: str) -> str:
    """What there is in an answer that cannot be given to an engine as text to go on with, "" if nothing."""
    text = fields.get((0, field, NO_TOOL), "")
    others = {key[1] for key in fields if key != (0, field, NO_TOOL)}
    if said.heads:
        return "a tool call has begun"
    if said.finished or any(choice for choice, _, _ in fields):
        return "there are several answers"
    if others - THOUGHTS:
        return "part of it is no plain text"
    if not text.strip() or (others and not said.content_last):
        return "it broke off within its reasoning"
    if "<think>" in text or "</think>" in text:
        return "its text holds reasoning, which templates take out"
    return ""


def _demands(request: Json) -> str:
    """What a request asks for that an answer in two parts would not have, "" if nothing."""
    if _number(request.get("n")) > 1 or _number(request.get("best_of")) > 1:
        return "several answers were asked for"
    form = _object(request.get("response_format")).get("type", "text")
    if form not in ("text", *_JSON_FORMS) or any(request.get(key) for key in _GRAMMARS):
        return _GRAMMAR
    if request.get("tool_choice") not in (None, "auto", "none"):
        return "a tool call was required"
    logprobs = request.get("logprobs")  # in completions a number, of which 0 asks for some
    if (logprobs is not None and logprobs is not False) or any(request.get(key) for key in _MORE):
        return "more than its text was asked for"
    return ""


def _asks_for_json(request: Json) -> bool:
    return _object(request.get("response_format")).get("type") in _JSON_FORMS


def _tokens_of(blanks: str) -> int:
    """About how many tokens an engine needs for whitespace that it is not given and has to say again: a line end may
    be one, a run of spaces is. Too few would cut its answer short; one too many makes it a word longer."""
    return max(1, blanks.count("\n")) if blanks else 0


def _what_is_left(request: Json, tokens_sent: int) -> Json:
    """Limits on the number of tokens, less those that were sent. What is not positive means something else."""
    least = {"max_tokens": 1, "max_completion_tokens": 1, "n_predict": 1, "min_tokens": 0}
    told = {key: _number(request.get(key)) for key in least}
    return {key: max(least[key], value - tokens_sent) for key, value in told.items() if value > 0}


def _with_text(request: Json, text: str, how: Continues) -> list[object] | None:
    """The messages with the answer so far as the last one, or at the end of the client's own if that was continued."""
    messages = request.get("messages")
    if not isinstance(messages, list):
        return None
    last = messages[-1] if messages else None
    own = isinstance(last, dict) and last.get("role") == "assistant"
    if not own or (how is Continues.VLLM and request.get("continue_final_message") is not True):
        return [*messages, {"role": "assistant", "content": text}]
    assert isinstance(last, dict)
    content = last.get("content")
    if last.get("tool_calls"):
        return None
    if content is None or isinstance(content, str):
        return [*messages[:-1], {**last, "content": (content or "") + text}]
    part = content[-1] if isinstance(content, list) and content else None
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return None
    return [*messages[:-1], {**last, "content": [*content[:-1], {**part, "text": part["text"] + text}]}]


def _number(value: object) -> int:
    return value if type(value) is int else 0


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
