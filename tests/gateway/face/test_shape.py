"""How deep and how long a body is: the quick looks agree with the slow truth."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.face.errors import ApiError
from gateway.face.openai import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Endpoint
from gateway.face.shape import check_shape

DEEP = 5
texts = st.text(alphabet='[]{}"\\,:ab\n', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=40,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def refused(body: bytes, endpoint: Endpoint = CHAT, deep: int = DEEP, items: int = 4096) -> str | None:
    try:
        check_shape(body, endpoint, deep, items)
    except ApiError as error:
        return error.kind.code
    return None


@given(st.dictionaries(texts, values, max_size=4), st.booleans(), st.sampled_from([None, 1]), st.booleans())
@example({"a": ['"', '\\"', "\\", "]]]]", [[[["[["]]]]]}, False, None, True)
def test_a_body_is_refused_if_and_only_if_it_is_too_deep(
    body: dict[str, Any], escaped: bool, indent: int | None, long: bool
) -> None:
    padded = {**body, "padding": "x" * 5000} if long else body
    text = json.dumps(padded, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    assert refused(text) == ("json_too_deep" if depth(body) > DEEP else None)


@pytest.mark.parametrize("size", [0, 5000])
def test_depth_is_exact(size: int) -> None:
    def nested(deep: int) -> bytes:
        return json.dumps({"pad": "[" * size, "a": json.loads("[" * (deep - 1) + "]" * (deep - 1))}).encode()

    assert refused(nested(64), deep=64) is None
    assert refused(nested(65), deep=64) == "json_too_deep"


@pytest.mark.parametrize(("endpoint", "name"), [(CHAT, "messages"), (RESPONSES, "input"), (EMBEDDINGS, "input")])
@pytest.mark.parametrize("item", [{}, {"role": "user", "content": "a, b, [c], {d}"}])
def test_items_are_counted_exactly(endpoint: Endpoint, name: str, item: object) -> None:
    for limit in (10, 3000):
        for number, code in ((limit, None), (limit + 1, "too_many_messages")):
            assert refused(json.dumps({name: [item] * number}).encode(), endpoint, items=limit) == code


@pytest.mark.parametrize(("endpoint", "name"), [(EMBEDDINGS, "input"), (RESPONSES, "input"), (COMPLETIONS, "prompt")])
def test_texts_are_counted_and_the_tokens_of_one_are_not(endpoint: Endpoint, name: str) -> None:
    assert refused(json.dumps({name: ["a"] * 11}).encode(), endpoint, items=10) == "too_many_messages"
    assert refused(json.dumps({name: [[1, 2]] * 11}).encode(), endpoint, items=10) == "too_many_messages"
    assert refused(json.dumps({name: list(range(8000))}).encode(), endpoint, items=10) is None
    assert refused(json.dumps({name: "," * 8000}).encode(), endpoint, items=10) is None


def test_what_is_no_list_is_left_to_the_upstream() -> None:
    for value in ("null", "1", '{"a": 1}', '"' + "," * 5000 + '"'):
        assert refused(b'{"messages": %b, "tools": [%b]}' % (value.encode(), b",".join([b"{}"] * 20)), items=10) is None


def test_looking_closely_takes_a_bounded_time() -> None:
    assert refused(b'{"a": [' + b"{}," * 600_000 + b"{}]}") == "json_too_deep"
