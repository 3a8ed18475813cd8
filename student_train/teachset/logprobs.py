"""Log-probabilities of an answer as OpenAI-compatible endpoints give them, with the mass that they leave out.

An endpoint gives, of each token, itself and the `top_logprobs` likeliest ones. What is taught from them is a
distribution, so the rest is one bucket: `tail`, the log of 1 minus the mass that is told. With it the divergence over
k + 1 outcomes is a lower bound of that over the vocabulary, and never negative; without it, truncated sums can be
(reference: verl's `forward_kl_topk_tail`).

Whether the numbers are those before or after the temperature is the endpoint's choice: OpenAI, llama.cpp and vLLM
(`--logprobs-mode raw_logprobs`, its default) give those before.
"""

from collections.abc import Iterable
from math import exp, fsum, log
from typing import Any

from student_train.teachset.example import Candidate, Position

LEAST = -100.0  # nats. Endpoints write -inf as null or -9999; it is nothing, and JSON has no infinity
DIGITS = 4  # of a nat: they are most of what a set has on disk
LEAST_TAIL = log(1e-7)  # what 32-bit floats that sum to 1 still tell apart


def read_logprobs(choice: dict[str, Any]) -> tuple[Position, ...]:
    """Of a choice of a chat completion; none if the endpoint gave none, or in a form that is not OpenAI's."""
    told = choice.get("logprobs")
    content = told.get("content") if isinstance(told, dict) else None
    if not isinstance(content, list):
        return ()
    try:
        return tuple(map(_position, content))
    except (KeyError, TypeError, ValueError, AttributeError):
        return ()


def total(positions: Iterable[Position]) -> float:
    """The log-probability of the whole answer, in nats."""
    return fsum(position.logprob for position in positions)


def tail(told: Iterable[float]) -> float:
    """The log of the mass that `told`, log-probabilities of different tokens, leave over."""
    rest = 1.0 - fsum(map(exp, told))
    return max(log(rest), LEAST_TAIL) if rest > 0 else LEAST_TAIL


def _position(item: dict[str, Any]) -> Position:
    token = _token(item)
    logprob = _logprob(item)
    others: dict[str, float] = {}
    for other in item.get("top_logprobs") or ():
        name = _token(other)
        if name != token:
            others.setdefault(name, _logprob(other))
    ranked = sorted(others.items(), key=lambda pair: (-pair[1], pair[0]))
    top = tuple(Candidate(name, round(value, DIGITS)) for name, value in ranked)
    return Position(token, round(logprob, DIGITS), top, round(tail([logprob, *others.values()]), DIGITS))


def _logprob(item: dict[str, Any]) -> float:
    value = item["logprob"]
    return LEAST if value is None else min(max(float(value), LEAST), 0.0)


def _token(item: dict[str, Any]) -> str:
    """A token that is no whole text by itself, part of an emoji say, is told by its bytes: `<0xF0><0x9F>`. All such
    would otherwise be the same replacement character."""
    raw = item.get("bytes")
    if isinstance(raw, list):
        try:
            return bytes(raw).decode()
        except UnicodeDecodeError:
            return "".join(f"<0x{byte:02X}>" for byte in raw)
    token = item["token"]
    if not isinstance(token, str):
        raise TypeError(f"expected a token that is text, got {type(token).__name__}")
    return token
