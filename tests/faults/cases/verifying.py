"""Whole answers that arrive, and are not what was asked for: big's is served instead."""

import json
from collections.abc import Mapping
from typing import Any

from tests.faults.answers import END, HEAD, chunk, chunked, completion, dumps, events, good, response
from tests.faults.case import Case, Expect, Mode, Stage
from tests.faults.server import Call, Script

SCHEMA = {
    "type": "object",
    "properties": {"order": {"type": "integer"}, "city": {"type": "string"}},
    "required": ["order", "city"],
    "additionalProperties": False,
}
JSON_OBJECT = {"response_format": {"type": "json_object"}}
JSON_SCHEMA = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": SCHEMA}}
}
RIGHT = json.dumps({"order": 42, "city": "Zürich"}, ensure_ascii=False)
PARAMETERS = {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "track", "parameters": PARAMETERS}}]}
SERVED = Expect(text=RIGHT, why="fallback:verify")
HOLD = {"mid_stream": "hold:1000"}  # a stream can only be checked as long as nothing of it is out


def calling(name: str, arguments: str) -> Script:
    """A server that answers with a tool call."""

    def script(call: Call) -> list[bytes]:
        model = call.json["model"]
        told = {"id": "call-1", "type": "function", "function": {"name": name, "arguments": arguments}}
        if not call.streams:
            return [response(completion(model, {"content": None, "tool_calls": [told]}, "tool_calls"))]
        pieces = [
            chunk(model, {"role": "assistant", "tool_calls": [{"index": 0, **told}]}),
            chunk(model, {}, "tool_calls"),
        ]
        return [HEAD, *(chunked(one) for one in (*pieces, *events(call, ())[-2:])), END]

    return script


async def _tool_case(stage: Stage) -> None:
    reply = await stage.ask()
    stage.caller_got = stage.describe(reply)
    stage.must_be("tool calls", reply.tool_calls, {"track": dumps({"order": 42}).decode()})
    stage.check(reply, Expect(text="", why="fallback:verify"))


def _json(name: str, fault: str, answer: str, ask: Mapping[str, Any], **more: Any) -> Case:
    return Case(
        name=name,
        fault=fault,
        small=good(answer),
        big=good(RIGHT),
        ask=ask,
        fallback=HOLD,
        **{"expect": SERVED, **more},
    )


def _tool(name: str, fault: str, small: Script) -> Case:
    return Case(
        name=name,
        fault=fault,
        small=small,
        big=calling("track", dumps({"order": 42}).decode()),
        ask=TOOLS,
        fallback=HOLD,
        play=_tool_case,
    )


CASES = (
    _json("verify-json", "`json_object` asked for, prose given", "The order is 42.", JSON_OBJECT),
    _json(
        "verify-fenced",
        "`json_object` asked for, JSON in a Markdown fence given",
        f"```json\n{RIGHT}\n```",
        JSON_OBJECT,
    ),
    _json("verify-schema", "`json_schema` asked for, a required key missing", '{"order": 42}', JSON_SCHEMA),
    _json(
        "verify-schema-type",
        "`json_schema` asked for, a value of the wrong type",
        '{"order":"42","city":"x"}',
        JSON_SCHEMA,
    ),
    _json(
        "verify-right",
        "`json_schema` asked for and kept: no fault",
        RIGHT,
        JSON_SCHEMA,
        expect=Expect(text=RIGHT, by="small", big=0),
    ),
    _tool("verify-unknown-tool", "a call of a tool that was not declared", calling("delete_everything", "{}")),
    _tool("verify-tool-arguments", "a tool call whose arguments are no JSON", calling("track", '{"order": 4')),
    _tool("verify-tool-schema", "a tool call whose arguments miss a required key", calling("track", "{}")),
    Case(
        name="verify-off",
        fault="`json_object` asked for, prose given, `verify.json: false`",
        small=good("The order is 42."),
        big=good(RIGHT),
        ask=JSON_OBJECT,
        fallback={"verify": {"json": False}},
        modes=(Mode.WHOLE,),
        expect=Expect(text="The order is 42.", by="small", big=0),
    ),
)
