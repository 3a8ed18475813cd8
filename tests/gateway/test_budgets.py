"""What is reserved for a request, and that it is given back once."""

import json
import resource
from typing import Any

import pytest

from gateway.budgets import OUTPUT_TOKENS, KeyBudget, estimated_tokens
from gateway.face.errors import ApiError
from gateway.face.http import _most_connections
from router_policies.budgets import KeyLimits


@pytest.mark.parametrize(
    ("fields", "output"),
    [
        ({}, OUTPUT_TOKENS),
        ({"max_tokens": 7}, 7),
        ({"max_output_tokens": 8}, 8),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "n": 3}, 21),
        ({"n": 2}, 2 * OUTPUT_TOKENS),
        ({"max_tokens": None, "n": None}, OUTPUT_TOKENS),
        ({"max_tokens": -5, "n": 0}, OUTPUT_TOKENS),
        ({"max_tokens": "many", "n": [2]}, OUTPUT_TOKENS),
        ({"max_tokens": True, "n": True}, OUTPUT_TOKENS),
        ({"max_tokens": 1e9}, OUTPUT_TOKENS),
        ({"metadata": {"max_tokens": 5}}, OUTPUT_TOKENS),
    ],
)
def test_the_estimate_is_the_body_and_the_most_output_it_allows(fields: dict[str, Any], output: int) -> None:
    body = json.dumps({"model": "m", **fields}).encode()
    assert estimated_tokens(body, generates=True) == len(body) // 4 + output
    assert estimated_tokens(body, generates=False) == len(body) // 4


def test_a_reservation_is_settled_once() -> None:
    budget = KeyBudget("app", KeyLimits(concurrency=1))
    first = budget.reserve(b"{}", generates=True, now=0.0)
    with pytest.raises(ApiError, match="The key 'app' may use 1 requests at once") as caught:
        budget.reserve(b"{}", generates=True, now=0.0)
    assert (caught.value.kind.status, caught.value.retry_after_s) == (429, 1)
    first.settle(5)
    first.settle(5)
    budget.reserve(b"{}", generates=True, now=0.0)
    with pytest.raises(ApiError):
        budget.reserve(b"{}", generates=True, now=0.0)


def test_the_wait_is_told_in_whole_seconds_after_which_it_passes() -> None:
    budget = KeyBudget("app", KeyLimits(requests_per_minute=25))
    for _ in range(25):
        budget.reserve(b"{}", generates=True, now=0.0)
    with pytest.raises(ApiError) as caught:
        budget.reserve(b"{}", generates=True, now=0.0)
    assert caught.value.retry_after_s == 3  # 2.4 s
    budget.reserve(b"{}", generates=True, now=3.0)


def test_there_are_never_more_connections_than_files_can_be_open() -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert _most_connections(5) == 5
    if files != resource.RLIM_INFINITY:
        assert _most_connections(10**9) * 2 < files
