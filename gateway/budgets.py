"""A key's budget as a worker keeps it: how much is reserved for a request, and what is said when there is no room."""

import math
from time import monotonic

import msgspec

from gateway.face.errors import (
    CONCURRENCY_EXCEEDED,
    REQUESTS_PER_MINUTE_EXCEEDED,
    TOKENS_PER_MINUTE_EXCEEDED,
    ApiError,
)
from router_policies.budgets import Budget, Exceeded, KeyLimits, Limit

BYTES_PER_TOKEN = 4  # of a prompt, for the estimate
OUTPUT_TOKENS = 1024  # reserved where a request does not say how many it may get at most
_EXCEEDED = {
    Limit.REQUESTS: (REQUESTS_PER_MINUTE_EXCEEDED, "{} requests a minute"),
    Limit.TOKENS: (TOKENS_PER_MINUTE_EXCEEDED, "{} tokens a minute"),
    Limit.CONCURRENCY: (CONCURRENCY_EXCEEDED, "{} requests at once"),
}


class _Wish(msgspec.Struct, gc=False):
    """How much output a request allows. What is no number is the upstream's to refuse."""

    max_tokens: object = None
    max_completion_tokens: object = None
    max_output_tokens: object = None
    n: object = None


_decode = msgspec.json.Decoder(_Wish).decode


class Reservation:
    """What one admitted request holds of its key's budget. `settle` gives it back; a second time does nothing."""

    __slots__ = ("_budget", "_tokens")

    def __init__(self, budget: Budget, tokens: int) -> None:
        self._budget: Budget | None = budget
        self._tokens = tokens

    def settle(self, tokens: int) -> None:
        """The request has ended, having used `tokens` of input and output together."""
        budget, self._budget = self._budget, None
        if budget is not None:
            budget.settle(self._tokens, tokens, monotonic())


class KeyBudget:
    """The budget of one key in this worker. `budget` is what `gateway.control.shares` shares with other workers."""

    __slots__ = ("_counts_tokens", "budget", "name")

    def __init__(self, name: str, limits: KeyLimits) -> None:
        self.budget = Budget(limits)
        self._counts_tokens = limits.tokens_per_minute is not None
        self.name = name

    def reserve(self, body: bytes, *, generates: bool, now: float) -> Reservation:
        """Reserve what a request with this body, a JSON object, may use. Raises `ApiError` (429) if that is too much.

        `generates` is false for embeddings, which have no output.
        """
        tokens = estimated_tokens(body, generates=generates) if self._counts_tokens else 0
        try:
            return Reservation(self.budget, self.budget.reserve(tokens, now))
        except Exceeded as refusal:
            kind, text = _EXCEEDED[refusal.limit]
            wait_s = 1 if refusal.wait_s is None else max(1, math.ceil(refusal.wait_s))
            message = f"The key {self.name!r} may use {text.format(refusal.allowed)}. Try again in {wait_s} s."
            raise ApiError(kind, message, retry_after_s=wait_s) from None


def estimated_tokens(body: bytes, *, generates: bool) -> int:
    """What a request will use, by its length and the most output that it allows."""
    tokens = len(body) // BYTES_PER_TOKEN
    if not generates:
        return tokens
    try:
        wish = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        wish = _Wish()
    most = OUTPUT_TOKENS
    for value in (wish.max_completion_tokens, wish.max_tokens, wish.max_output_tokens):
        if type(value) is int and value > 0:
            most = value
            break
    return tokens + most * (wish.n if type(wish.n) is int and wish.n > 1 else 1)
