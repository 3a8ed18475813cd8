"""Short ways to requests and answers, all made through the readers that production uses."""

import json
from typing import Any

from router_policies.checks.check import Answer, Check, Finding, Outcome, Request
from router_policies.checks.reading import CHAT, read_answer, read_request


def asks(text: str = "Hello", **fields: Any) -> Request:
    body = {"model": "m", "messages": [{"role": "user", "content": text}], **fields}
    return read_request(CHAT, json.dumps(body).encode())


def asks_json(schema: Any = None) -> Request:
    if schema is None:
        return asks(response_format={"type": "json_object"})
    return asks(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})


def asks_tools(*tools: dict[str, Any], **fields: Any) -> Request:
    return asks(tools=[{"type": "function", "function": tool} for tool in tools], **fields)


def says(text: str | None = None, *, finish: str | None = "stop", **message: Any) -> Answer:
    choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
    return read_answer(CHAT, json.dumps({"choices": [choice]}).encode())


def calls(*called: tuple[Any, Any]) -> Answer:
    """Arguments that are no text are written as JSON."""
    listed = [
        {
            "id": f"call_{at}",
            "type": "function",
            "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
        }
        for at, (name, given) in enumerate(called)
    ]
    return says(tool_calls=listed, finish="tool_calls")


def judged(check: Check, request: Request, answer: Answer, other: Answer | None = None) -> Finding:
    return check.judge(request, answer, other)


def outcome(check: Check, request: Request, answer: Answer) -> Outcome:
    return check.judge(request, answer, None).outcome


def agreed(check: Check, request: Request, student: Answer, teacher: Answer) -> Any:
    """True, or what differs."""
    found = check.judge(request, student, teacher), check.judge(request, teacher, student)
    return check.agree(request, student, teacher, found)
