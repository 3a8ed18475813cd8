"""A stream that breaks twice: what the third is asked to continue is what the client has."""

import json

import pytest

from tests.conftest import StartGateway
from tests.support.raw import RawClient, post
from tests.support.upstream import CLOSE, DONE, Received, ScriptedUpstream, Step, chunk, event

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
ROLE = chunk({"role": "assistant", "content": ""})
END = {
    "error": event({"error": {"message": "out of memory", "code": 500}}),
    "done": DONE,
    "garbage": b"data: {\n\n" * 2,
}


@pytest.mark.parametrize("end", END)
def test_text_and_the_end_in_one_read(
    gateway_process: StartGateway, student: ScriptedUpstream, teacher: ScriptedUpstream, end: str
) -> None:
    """The second model's first read holds a piece of the answer and its own failure."""
    asked = []

    def third(request: Received) -> list[Step]:
        asked.append(request.json["messages"][-1]["content"])
        return [HEAD + ROLE, 0.05, chunk({"content": "three"}), chunk({}, "stop") + DONE, CLOSE]

    student.script = lambda request: [HEAD + ROLE + chunk({"content": "one "}), 0.1, CLOSE]
    teacher.script = lambda request: [HEAD + ROLE + chunk({"content": "two "}) + END[end], 0.1, CLOSE]
    with ScriptedUpstream(third) as spare:
        named = {"small": student, "big": teacher, "spare": spare}
        upstreams = {
            name: {"base_url": upstream.base_url, "model": name, "continues": "prefill"}
            for name, upstream in named.items()
        }
        fallback = {"order": ["teacher", "spare"], "retries": 0}
        route = {"teacher": "big", "student": "small", "student_percent": 100, "fallback": fallback}
        gateway = gateway_process({"upstreams": upstreams, "routes": {"chat": route}})
        body = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "count"}]}
        with RawClient(gateway.port) as raw:
            raw.send(post(json.dumps(body).encode(), extra="connection: close\r\n"))
            answer = raw.rest().decode()
    events = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith("data: {")]
    text = "".join(choice["delta"].get("content", "") for one in events for choice in one["choices"])
    assert asked == ["one two"]
    assert text == "one two three"
    assert answer.count("data: [DONE]") == 1
