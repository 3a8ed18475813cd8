"""Reading requests, and changing two spans of them and nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.face.errors import ApiError
from gateway.face.openai import forwarded_parts, read_request

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Names that tempt a careless search: the keys themselves, nested, and as text.
tempting = st.sampled_from(["model", "stream_options", "include_usage", '"model":"x"', "\\", '\\"model\\":', "{", "]"])
objects = st.dictionaries(
    st.text(max_size=8) | tempting, json_values | tempting | st.dictionaries(tempting, tempting, max_size=3), max_size=6
)


@st.composite
def request_texts(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    document = draw(objects)
    document["model"] = draw(st.sampled_from(["support-chat", "a", 'quo"ted', "ü", "back\\slash"]))
    document["stream"] = draw(st.booleans())
    options = draw(st.sampled_from(["absent", None, {}, {"include_usage": True}, {"include_usage": False, "x": [1]}]))
    document.pop("stream_options", None)
    if options != "absent":
        document["stream_options"] = options
    document.pop("user", None)
    items = draw(st.permutations(list(document.items())))
    indent = draw(st.sampled_from([None, 0, 2]))
    separators = draw(st.sampled_from([(",", ":"), (" , ", "\t:\n ")]))
    text = json.dumps(dict(items), ensure_ascii=draw(st.booleans()), indent=indent, separators=separators)
    return draw(st.sampled_from(["", " ", "\r\n"])) + text, dict(items)


def surrogate_free(text: str) -> bool:
    return not any(0xD800 <= ord(character) < 0xE000 for character in text)


@given(request_texts(), st.sampled_from(["student-model", 'we"ird\\', "ß"]), st.booleans())
def test_only_the_model_and_the_usage_option_change(
    request_text: tuple[str, dict[str, Any]], model: str, ask: bool
) -> None:
    text, document = request_text
    body = text.encode()
    view = read_request(body)
    assert view.model == document["model"]
    forwarded = b"".join(forwarded_parts(body, view, model, ask_usage=ask))
    expected = {**document, "model": model}
    if ask:
        expected["stream_options"] = {**(document.get("stream_options") or {}), "include_usage": True}
    assert json.loads(forwarded) == expected


def test_bytes_outside_the_spans_stay_as_they_came() -> None:
    body = (
        b'{ "messages":[{"role":"user","content":"\\u00e9 \xc3\xa9 1.0e2"}],\n\t"seed": 1.50, '
        b'"model" : "chat" , "x":0 }'
    )
    view = read_request(body)
    forwarded = b"".join(forwarded_parts(body, view, "m", ask_usage=False))
    assert forwarded == body.replace(b'"chat"', b'"m"')


@pytest.mark.parametrize(
    ("body", "forwarded"),
    [
        (b'{"mod\\u0065l" : "chat" ,"x":{"model" : "chat"}}', b'{"model":"m","x":{"model" : "chat"}}'),
        (b'{"x":{"model":"chat"},"model":"chat"}', b'{"x":{"model":"chat"},"model":"m"}'),
        (b'{"x":[{"model":"chat"}],"model":"chat"}', b'{"x":[{"model":"chat"}],"model":"m"}'),
        (b'{"model":"other","model":"chat"}', b'{"model":"m","model":"m"}'),
        (b'{"a":"model","model":"chat"}', b'{"a":"model","model":"m"}'),
        (b'{"t":{"model":{"type":"string"}},"model":"chat"}', b'{"t":{"model":{"type":"string"}},"model":"m"}'),
        (b'{"a":[],"b":{},"model":"chat"}', b'{"a":[],"b":{},"model":"m"}'),
        (
            b'{"t":"\\u003c]}","x":[{"model":"chat"}], "model":"chat"}',
            b'{"t":"\\u003c]}","x":[{"model":"chat"}], "model":"m"}',
        ),
        (b'{"model" :"chat","mod\\u0065l":"chat"}', b'{"model":"m"}'),
    ],
)
def test_the_top_level_model_is_found_among_others(body: bytes, forwarded: bytes) -> None:
    view = read_request(body)
    assert b"".join(forwarded_parts(body, view, "m", ask_usage=False)) == forwarded


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (None, False),
        ('{"include_usage":true}', True),
        ('{"include_usage":false}', False),
        ("null", False),
        ("[]", False),
    ],
)
def test_whether_the_client_asked_for_usage(options: str | None, asked: bool) -> None:
    extra = "" if options is None else f',"stream_options":{options}'
    assert read_request(f'{{"model":"chat"{extra}}}'.encode()).asks_usage is asked


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (b"", 400, "invalid_json", None),
        (b"{", 400, "invalid_json", None),
        (b'{"model": NaN}', 400, "invalid_json", None),
        (b'{"model":"\xff"}', 400, "invalid_json", None),
        (b"[" * 100_000, 400, "invalid_type", None),
        (b'{"model":"a","x":' + b"[" * 100_000, 400, "invalid_json", None),
        (b"[]", 400, "invalid_type", None),
        (b"null", 400, "invalid_type", None),
        (b'"chat"', 400, "invalid_type", None),
        (b"{}", 400, "missing_required_parameter", "model"),
        (b'{"model":""}', 400, "missing_required_parameter", "model"),
        (b'{"model":7}', 400, "invalid_type", "model"),
        (b'{"model":null}', 400, "invalid_type", "model"),
        (b'{"model":"chat","stream":"yes"}', 400, "invalid_type", "stream"),
    ],
)
def test_bad_requests_say_what_is_wrong(body: bytes, status: int, code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        read_request(body)
    assert (caught.value.kind.status, caught.value.kind.code, caught.value.param) == (status, code, param)
    error = json.loads(caught.value.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("fields", "user"),
    [
        ("", None),
        (',"user":"u1"', "u1"),
        (',"user":""', None),
        (',"user":17', None),
        (',"safety_identifier":"s1"', "s1"),
        (',"user":"u1","safety_identifier":"s1"', "u1"),
        (',"user":{"id":1},"safety_identifier":"s1"', "s1"),
    ],
)
def test_the_end_user(fields: str, user: str | None) -> None:
    assert read_request(f'{{"model":"chat"{fields}}}'.encode()).end_user == user


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        read_request(body)
    except ApiError as error:
        assert error.kind.status == 400
