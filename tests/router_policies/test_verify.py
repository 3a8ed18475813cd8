"""What of an answer is checked, what is no failure, and that a finding never tells the answer."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.face.openai import RequestView
from router_policies import verify as module
from router_policies.verify import LONGEST_ANSWER, Finding, Verify, verify

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ORDER = {
    "type": "object",
    "properties": {
        "order": {"type": "integer", "minimum": 1},
        "city": {"type": "string", "pattern": "^[A-Z]"},
        "status": {"enum": ["open", "sent", None]},
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "price": {"type": "number", "exclusiveMinimum": 0}},
                "required": ["sku", "price"],
                "additionalProperties": False,
            },
            "maxItems": 4,
        },
        "note": {"anyOf": [{"type": "string", "maxLength": 8}, {"type": "null"}]},
    },
    "required": ["order", "city", "status", "lines", "note"],
    "additionalProperties": False,
}
RIGHT = {"order": 42, "city": "Zürich", "status": "sent", "lines": [{"sku": "a", "price": 1.5}], "note": None}
TRACK = {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]}


def asks_for_format(request: bytes) -> bool:
    """What the gateway reads of a request to know whether its answer is to be checked at all."""
    return msgspec.json.decode(request, type=RequestView).asks_for_format


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def body(**keys: Any) -> bytes:
    return dumps({"model": "chat", **keys}).encode()


def under(schema: Any, strict: bool = True) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "order", "strict": strict, "schema": schema}}


JSON_OBJECT = {"response_format": {"type": "json_object"}}
JSON_SCHEMA = {"response_format": under(ORDER)}
TOOLS: dict[str, Any] = {
    "tools": [
        {"type": "function", "function": {"name": "track", "parameters": TRACK}},
        {"type": "function", "function": {"name": "stop"}},
        {"type": "custom", "custom": {"name": "run"}},
    ]
}


def said(content: Any, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*called: dict[str, Any], content: str | None = None, finish_reason: str = "tool_calls") -> dict[str, Any]:
    return said(content, finish_reason, tool_calls=[*called])


def chosen(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, Any]:
    return {
        "type": "allowed_tools",
        "allowed_tools": {"mode": mode, "tools": [chosen("function", name) for name in names]},
    }


GOOD_CALL = call("track", '{"order": 42}')
OUTSIDE = {"custom": {"name": "run", "input": "not JSON"}, "type": "custom", "id": "1"}

# what is asked, the choices of the answer, and the kind of the finding
CHAT_CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str | None]] = {
    "nothing asked": ({}, [said("The order is 42.")], None),
    "text asked": ({"response_format": {"type": "text"}}, [said("The order is 42.")], None),
    "an object": (JSON_OBJECT, [said('{"a": 1}')], None),
    "white space around": (JSON_OBJECT, [said('\n {"a": 1} \n')], None),
    "half a surrogate pair, escaped": (JSON_OBJECT, [said('{"a": "\\ud800"}')], None),
    "a number no float holds": (JSON_OBJECT, [said('{"a": 1e999}')], None),
    "a number of 5000 digits": (JSON_OBJECT, [said('{"a": ' + "9" * 5000 + "}")], None),
    "parts of text": (JSON_OBJECT, [said([{"type": "text", "text": '{"a"'}, {"type": "text", "text": ": 1}"}])], None),
    "prose": (JSON_OBJECT, [said("The order is 42.")], "json"),
    "a Markdown fence": (JSON_OBJECT, [said('```json\n{"a": 1}\n```')], "json"),
    "prose after": (JSON_OBJECT, [said('{"a": 1} is it.')], "json"),
    "two values": (JSON_OBJECT, [said('{"a": 1}{"a": 2}')], "json"),
    "cut off": (JSON_OBJECT, [said('{"a": 1')], "json"),
    "NaN": (JSON_OBJECT, [said('{"a": NaN}')], "json"),
    "NaN behind a lone surrogate": (JSON_OBJECT, [said('{"b": "\\ud800", "a": NaN}')], "json"),
    "NaN behind large numbers": (JSON_OBJECT, [said(f"[{'1e300,' * 100}NaN]")], "json"),
    "a line break in a text": (JSON_OBJECT, [said('{"a": "x\ny"}')], "json"),
    "empty": (JSON_OBJECT, [said("")], "json"),
    "nothing": (JSON_OBJECT, [said(None)], "json"),
    "the second choice": (JSON_OBJECT, [said("{}"), said("no")], "json"),
    "cut by max_tokens": (JSON_OBJECT, [said('{"a": 1', "length")], None),
    "filtered": (JSON_OBJECT, [said("", "content_filter")], None),
    "refused": (JSON_OBJECT, [said(None, refusal="I cannot help with that.")], None),
    "one cut, one wrong": (JSON_OBJECT, [said("{", "length"), said("{")], "json"),
    "calls instead of JSON": ({**JSON_OBJECT, **TOOLS}, [calls(GOOD_CALL, content="Let me see.")], None),
    "schema kept": (JSON_SCHEMA, [said(dumps(RIGHT))], None),
    "schema, not strict": ({"response_format": under(ORDER, strict=False)}, [said("{}")], "schema"),
    "schema, no JSON": (JSON_SCHEMA, [said("no")], "json"),
    "key missing": (JSON_SCHEMA, [said('{"order": 42}')], "schema"),
    "key too many": (JSON_SCHEMA, [said(dumps({**RIGHT, "x": 1}))], "schema"),
    "no object": (JSON_SCHEMA, [said("[]")], "schema"),
    "schema missing": ({"response_format": {"type": "json_schema"}}, [said("{}")], None),
    "schema missing, no JSON": ({"response_format": {"type": "json_schema"}}, [said("no")], "json"),
    "llama.cpp's place": ({"response_format": {"type": "json_object", "schema": ORDER}}, [said("{}")], "schema"),
    "vLLM's structured_outputs": ({"structured_outputs": {"json": ORDER}}, [said("{}")], "schema"),
    "vLLM's, as text": ({"structured_outputs": {"json": dumps(ORDER)}}, [said("{}")], "schema"),
    "vLLM's json_object": ({"structured_outputs": {"json_object": True}}, [said("no")], "json"),
    "vLLM's, of a pattern": ({"structured_outputs": {"regex": "a+"}}, [said("aaa")], None),
    "vLLM's guided_json": ({"guided_json": ORDER}, [said("{}")], "schema"),
    "invalid schema": ({"response_format": under({"type": "integr"})}, [said("{}")], None),
    "schema elsewhere": ({"response_format": under({"$ref": "https://a.example/b"})}, [said("{}")], None),
    "a call": (TOOLS, [calls(GOOD_CALL)], None),
    "text, though there are tools": (TOOLS, [said("It was sent.")], None),
    "a call without arguments": (TOOLS, [calls(call("stop", ""))], None),
    "a call of a custom tool": (TOOLS, [calls(OUTSIDE)], None),
    "unknown tool": (TOOLS, [calls(call("delete", "{}"))], "tools"),
    "no name": (TOOLS, [calls({"type": "function"})], "tools"),
    "arguments no JSON": (TOOLS, [calls(call("track", '{"order": 4'))], "tools"),
    "arguments no text": (TOOLS, [calls(call("track", {"order": 4}))], "tools"),
    "arguments no object": (TOOLS, [calls(call("stop", "[]"))], "tools"),
    "argument missing": (TOOLS, [calls(call("track", "{}"))], "tools"),
    "arguments missing": (TOOLS, [calls(call("track", ""))], "tools"),
    "argument of a wrong type": (TOOLS, [calls(call("track", '{"order": "42"}'))], "tools"),
    "the second call": (TOOLS, [calls(GOOD_CALL, call("track", "{}"))], "tools"),
    "the second choice's call": (TOOLS, [calls(GOOD_CALL), calls(call("track", "{}"))], "tools"),
    "arguments cut by max_tokens": (TOOLS, [calls(call("track", '{"ord'), finish_reason="length")], None),
    "invalid parameters": (
        {"tools": [{"type": "function", "function": {"name": "track", "parameters": {"type": 3}}}]},
        [calls(call("track", "{}"))],
        None,
    ),
    "required": ({**TOOLS, "tool_choice": "required"}, [calls(GOOD_CALL)], None),
    "required, none": ({**TOOLS, "tool_choice": "required"}, [said("It was sent.")], "tools"),
    "required, cut": ({**TOOLS, "tool_choice": "required"}, [said("It", "length")], None),
    "required, refused": ({**TOOLS, "tool_choice": "required"}, [said(None, refusal="No.")], None),
    "auto": ({**TOOLS, "tool_choice": "auto"}, [said("It was sent.")], None),
    "none": ({**TOOLS, "tool_choice": "none"}, [said("It was sent.")], None),
    "none, one": ({**TOOLS, "tool_choice": "none"}, [calls(GOOD_CALL)], "tools"),
    "named": ({**TOOLS, "tool_choice": chosen("function", "track")}, [calls(GOOD_CALL, finish_reason="stop")], None),
    "named, another": ({**TOOLS, "tool_choice": chosen("function", "stop")}, [calls(GOOD_CALL)], "tools"),
    "named, none": ({**TOOLS, "tool_choice": chosen("function", "track")}, [said("Sent.")], "tools"),
    "named custom": ({**TOOLS, "tool_choice": chosen("custom", "run")}, [calls(OUTSIDE)], None),
    "allowed": ({**TOOLS, "tool_choice": allowed("auto", "track")}, [calls(GOOD_CALL)], None),
    "allowed, another": ({**TOOLS, "tool_choice": allowed("auto", "stop")}, [calls(GOOD_CALL)], "tools"),
    "allowed, none": ({**TOOLS, "tool_choice": allowed("auto", "stop")}, [said("Sent.")], None),
    "allowed and required": ({**TOOLS, "tool_choice": allowed("required", "stop")}, [said("Sent.")], "tools"),
    "two calls": (TOOLS, [calls(GOOD_CALL, GOOD_CALL)], None),
    "two, one at a time": ({**TOOLS, "parallel_tool_calls": False}, [calls(GOOD_CALL, GOOD_CALL)], "tools"),
    "one at a time": ({**TOOLS, "parallel_tool_calls": False}, [calls(GOOD_CALL)], None),
    "no choices": (JSON_OBJECT, [], "shape"),
    "no message": (JSON_OBJECT, [{"finish_reason": "stop"}], "shape"),
    "a request that is the upstream's to refuse": ({"response_format": 3}, [said("no")], None),
}


@pytest.mark.parametrize("case", CHAT_CASES)
def test_chat_completions(case: str) -> None:
    asked, choices, kind = CHAT_CASES[case]
    request = body(messages=[], **asked)
    finding = verify(CHAT, request, body(choices=choices), Verify())
    assert (finding.kind if finding else None) == kind
    if kind and asked:
        assert asks_for_format(request)


def message(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [*parts]}


def text(said: str) -> dict[str, Any]:
    return {"type": "output_text", "text": said, "annotations": []}


THOUGHT = {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
R_SCHEMA = {"text": {"format": {"type": "json_schema", "name": "order", "schema": ORDER, "strict": True}}}
R_TOOLS: dict[str, Any] = {"tools": [{"type": "function", "name": "track", "parameters": TRACK, "strict": True}]}
R_CALL = {"type": "function_call", "call_id": "1", "name": "track", "arguments": '{"order": 42}'}
SEARCH = {"type": "web_search_call", "id": "2", "status": "completed", "action": {"type": "search", "query": "x"}}

RESPONSES_CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str, str | None]] = {
    "text": ({"text": {"format": {"type": "text"}}}, [message(text("no"))], "completed", None),
    "an object": ({"text": {"format": {"type": "json_object"}}}, [THOUGHT, message(text("{}"))], "completed", None),
    "prose": ({"text": {"format": {"type": "json_object"}}}, [THOUGHT, message(text("no"))], "completed", "json"),
    "schema kept": (R_SCHEMA, [message(text(dumps(RIGHT)))], "completed", None),
    "schema broken": (R_SCHEMA, [message(text("{}"))], "completed", "schema"),
    "no message": (R_SCHEMA, [THOUGHT], "completed", "json"),
    "refused": (R_SCHEMA, [message({"type": "refusal", "refusal": "No."})], "completed", None),
    "cut": (R_SCHEMA, [message(text("{"))], "incomplete", None),
    "in the background": (R_SCHEMA, [], "queued", None),
    "the last message answers": (
        R_SCHEMA,
        [message(text("Let me see.")), message(text(dumps(RIGHT)))],
        "completed",
        None,
    ),
    "after the upstream's call": (R_SCHEMA, [SEARCH, message(text("{}"))], "completed", "schema"),
    "before a call": (R_SCHEMA, [message(text("Let me see.")), SEARCH], "completed", None),
    "a call": (R_TOOLS, [THOUGHT, R_CALL], "completed", None),
    "a call instead of JSON": ({**R_SCHEMA, **R_TOOLS}, [message(text("Let me see.")), R_CALL], "completed", None),
    "unknown tool": (R_TOOLS, [{**R_CALL, "name": "delete"}], "completed", "tools"),
    "arguments": (R_TOOLS, [{**R_CALL, "arguments": "{}"}], "completed", "tools"),
    "required, none": ({**R_TOOLS, "tool_choice": "required"}, [message(text("Sent."))], "completed", "tools"),
    "required, the upstream's": (
        {**R_TOOLS, "tool_choice": "required"},
        [SEARCH, message(text("x"))],
        "completed",
        None,
    ),
    "named": ({**R_TOOLS, "tool_choice": {"type": "function", "name": "track"}}, [R_CALL], "completed", None),
    "named, another": ({**R_TOOLS, "tool_choice": {"type": "function", "name": "x"}}, [R_CALL], "completed", "tools"),
    "a tool the upstream runs": ({**R_TOOLS, "tool_choice": {"type": "file_search"}}, [message()], "completed", None),
    "two, one at a time": ({**R_TOOLS, "parallel_tool_calls": False}, [R_CALL, R_CALL], "completed", "tools"),
    "tools of a stored prompt": ({**R_TOOLS, "prompt": {"id": "p"}}, [{**R_CALL, "name": "its"}], "completed", None),
    "tools of a namespace": (
        {"tools": [*R_TOOLS["tools"], {"type": "namespace", "name": "crm", "tools": []}]},
        [{**R_CALL, "name": "its"}],
        "completed",
        None,
    ),
}


@pytest.mark.parametrize("case", RESPONSES_CASES)
def test_responses(case: str) -> None:
    asked, output, status, kind = RESPONSES_CASES[case]
    request = body(input="x", **asked)
    finding = verify(RESPONSES, request, body(output=output, status=status), Verify())
    assert (finding.kind if finding else None) == kind
    if kind:
        assert asks_for_format(request)


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"choices": {}}', b"\xff", b"[" * 5000])
def test_what_is_no_answer_at_all(answer: bytes) -> None:
    finding = verify(CHAT, body(**JSON_OBJECT), answer, Verify())
    assert finding is not None
    assert finding.kind == "shape"
    assert verify(CHAT, body(), answer, Verify()) is None


def test_other_endpoints_are_not_checked() -> None:
    assert verify("/v1/completions", body(**JSON_OBJECT), body(choices=[said("no")]), Verify()) is None


@pytest.mark.parametrize(
    ("what", "kinds"),
    [
        (Verify(), ("json", "schema", "tools")),
        (Verify(json=False), ("schema", "schema", "tools")),  # what is no JSON keeps to no schema
        (Verify(schema=False), ("json", None, "tools")),
        (Verify(tools=False), ("json", "schema", None)),
        (Verify(json=False, schema=False), (None, None, "tools")),
    ],
)
def test_each_check_can_be_switched_off(what: Verify, kinds: tuple[str | None, ...]) -> None:
    wrong = ((JSON_SCHEMA, said("no")), (JSON_SCHEMA, said("{}")), (TOOLS, calls(call("track", "{}"))))
    findings = [verify(CHAT, body(**asked), body(choices=[choice]), what) for asked, choice in wrong]
    assert tuple(finding.kind if finding else None for finding in findings) == kinds


def test_a_finding_says_where_and_what() -> None:
    wrong = {**RIGHT, "lines": [{"sku": "a", "price": -1}]}
    assert verify(
        CHAT, body(**JSON_SCHEMA), body(choices=[said("{}", "length"), said(dumps(wrong))]), Verify()
    ) == Finding(
        "schema",
        "choices.1.message.content",
        "does not fit the schema at properties/lines/items/properties/price/exclusiveMinimum",
    )
    assert verify(CHAT, body(**TOOLS), body(choices=[calls(GOOD_CALL, call("track", "{}"))]), Verify()) == Finding(
        "tools", "choices.0.message.tool_calls.1.arguments", "does not fit the tool's parameters at required"
    )


SECRET = "s3cr3t-of-a-user"


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        (JSON_OBJECT, said(SECRET)),
        (JSON_OBJECT, said(f'{{"{SECRET}": {SECRET}}}')),
        (JSON_SCHEMA, said(dumps({**RIGHT, "city": SECRET}))),
        (JSON_SCHEMA, said(dumps({**RIGHT, SECRET: 1}))),
        (JSON_SCHEMA, said(dumps({**RIGHT, "note": SECRET}))),
        ({"response_format": under({"propertyNames": {"maxLength": 3}})}, said(dumps({SECRET: 1}))),
        ({"response_format": under({"additionalProperties": {"type": "null"}})}, said(dumps({SECRET: 1}))),
        (TOOLS, calls(call(SECRET, "{}"))),
        (TOOLS, calls(call("track", SECRET))),
        (TOOLS, calls(call("track", dumps({"order": SECRET})))),
        (JSON_OBJECT, {"message": SECRET}),
    ],
)
def test_a_finding_never_tells_what_was_answered(asked: dict[str, Any], choice: dict[str, Any]) -> None:
    finding = verify(CHAT, body(**asked), body(choices=[choice]), Verify())
    assert finding is not None
    assert SECRET not in f"{finding.path} {finding.detail}"


def test_long_answers_are_not_checked() -> None:
    def answer(length: int) -> bytes:
        whole = body(choices=[said("")])
        return whole.replace(b'"content": ""', b'"content": "%b"' % (b"x" * (length - len(whole))))

    assert len(answer(LONGEST_ANSWER)) == LONGEST_ANSWER
    assert verify(CHAT, body(**JSON_OBJECT), answer(LONGEST_ANSWER), Verify()) is not None
    assert verify(CHAT, body(**JSON_OBJECT), answer(LONGEST_ANSWER + 1), Verify()) is None


def test_long_requests_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    request = body(**JSON_OBJECT)
    monkeypatch.setattr(module, "LONGEST_REQUEST", len(request))
    assert verify(CHAT, request, body(choices=[said("no")]), Verify()) is not None
    assert verify(CHAT, request + b" ", body(choices=[said("no")]), Verify()) is None


def test_hidden_keys_are_seen() -> None:
    request = body(**JSON_OBJECT).replace(b"response_format", b"response\\u005fformat")
    assert asks_for_format(request)
    assert verify(CHAT, request, body(choices=[said("no")]), Verify()) is not None


def test_plain_requests_ask_for_nothing() -> None:
    quoted = [{"role": "user", "content": 'Tell me of "tools", "response_format" and\nGrüße \u2028.'}]
    request = json.dumps({"model": "chat", "messages": quoted, "user": "a", "stream": False}).encode()
    assert not asks_for_format(request)
    assert verify(CHAT, request, body(choices=[said("no")]), Verify()) is None


# Any answer made to the schema passes; changed in one place, it does not.

lines = st.fixed_dictionaries(
    {"sku": st.text(max_size=9), "price": st.floats(0, 1e12, exclude_min=True, allow_subnormal=False)}
)
orders = st.fixed_dictionaries(
    {
        "order": st.integers(1, 2**70),
        "city": st.from_regex(r"\A[A-Z]\w*\Z"),
        "status": st.sampled_from(["open", "sent", None]),
        "lines": st.lists(lines, max_size=4),
        "note": st.none() | st.text(max_size=8),
    }
)
LINE = {"sku": "a", "price": 1}
breaks = st.sampled_from(
    [
        *(lambda order, key=key: order.pop(key) for key in ORDER["required"]),
        *(
            lambda order, key=key, value=value: order.update({key: value})
            for key, value in (
                *(("order", 0), ("order", "1"), ("order", 1.5), ("order", None), ("order", True)),
                *(("city", "zurich"), ("city", ""), ("city", 1)),
                *(("status", "lost"), ("status", 1), ("note", "123456789"), ("note", 1), ("extra", None)),
                *(("lines", None), ("lines", [LINE] * 5), ("lines", [{**LINE, "price": 0}]), ("lines", [{}])),
                *(("lines", [LINE, {**LINE, "n": 1}]), ("lines", {"0": LINE}), ("lines", [[LINE]])),
            )
        ),
    ]
)


@given(orders, st.booleans(), st.sampled_from([None, 2]))
def test_what_keeps_to_the_schema_passes(order: dict[str, Any], escaped: bool, indent: int | None) -> None:
    answer = body(choices=[said(json.dumps(order, ensure_ascii=escaped, indent=indent))])
    assert verify(CHAT, body(**JSON_SCHEMA), answer, Verify()) is None


@given(orders, breaks)
def test_what_breaks_the_schema_fails(order: dict[str, Any], change: Any) -> None:
    change(order)
    finding = verify(CHAT, body(**JSON_SCHEMA), body(choices=[said(dumps(order))]), Verify())
    assert finding is not None
    assert finding.kind == "schema"


@given(orders, st.data())
def test_a_cut_text_is_no_json(order: dict[str, Any], data: st.DataObject) -> None:
    whole = dumps(order)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    finding = verify(CHAT, body(**JSON_SCHEMA), body(choices=[said(cut)]), Verify())
    assert finding is not None
    assert finding.kind == "json"


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode), st.binary(max_size=300))
def test_any_bytes_are_borne(request: bytes, answer: bytes) -> None:
    verify(CHAT, request, answer, Verify())
    verify(RESPONSES, request, answer, Verify())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["type", "json_schema", "schema", "function", "name", "tools", "mode", "allowed_tools", "content"]
)
shapes = st.recursive(anything, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=4))


@given(shapes, shapes, shapes, shapes)
def test_any_shapes_are_borne(formatted: Any, tools: Any, choice: Any, answered: Any) -> None:
    request = body(response_format=formatted, text=formatted, tools=[tools], tool_choice=choice)
    verify(CHAT, request, body(choices=[{"message": answered}]), Verify())
    verify(RESPONSES, request, body(output=[answered, {"type": "message", "content": answered}]), Verify())
