"""The clients behind the gateway while a model server answers malformed: what they get must be well-formed, and what is
shown as a success must be one."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fuzz_requests import post
from fuzz_responses import Case, case
from fuzz_wire import Answer, Link, Malformed

HANG_S = 6.0  # the gateway's own total_s is 2
GOOD_TEXT = "hello you"  # of the server that never fails
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")
sys.set_int_max_str_digits(0)  # Python's own limit is none of JSON's


@dataclass
class Got:
    """What the clients got. `ok`: answers shown as a success; `failed`: told of as a failure, by status and code, with
    "in-band" for errors inside a stream. `findings` are what must not be: (kind, number of the case, what it was)."""

    cases: Counter[str] = field(default_factory=Counter)
    ok: int = 0
    failed: Counter[tuple[int, str]] = field(default_factory=Counter)
    findings: list[tuple[str, int, str]] = field(default_factory=list)
    slowest_s: float = 0.0

    @property
    def answers(self) -> int:
        return self.ok + sum(self.failed.values())


class Clients:
    """`width` connections at once, each asking one thing after the other."""

    def __init__(self, port: int, seed: int, numbers: Iterator[int], got: Got) -> None:
        self._port = port
        self._seed = seed
        self._numbers = numbers
        self._got = got

    async def run(self, width: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(self._client())

    async def _client(self) -> None:
        clock = asyncio.get_running_loop().time
        link: Link | None = None
        for number in self._numbers:
            asked = case(self._seed, number)
            self._got.cases[asked.kind] += 1
            began = clock()
            if link is None or not link.usable:
                link = await Link.open(self._port)
            link.write(post(asked.path, json.dumps(asked.request).encode(), b"x-request-id: fuzz-%d\r\n" % number))
            try:
                judge(asked, number, await _one(link), self._got)
            except TimeoutError:
                self._got.findings.append(("no answer in time", number, asked.kind))
                link.close()
            except Malformed as error:
                self._got.findings.append(("no whole HTTP answer", number, f"{asked.kind}: {error}"))
                link.close()
            if not link.usable:
                link.close()
            self._got.slowest_s = max(self._got.slowest_s, clock() - began)
        if link is not None:
            link.close()


async def _one(link: Link) -> Answer:
    async with asyncio.timeout(HANG_S):
        while True:
            answers, over = await link.read_answers(HANG_S)
            if len(answers) > 1 or (answers and link.answers.inside):
                raise Malformed("more than one answer")
            if answers:
                return answers[0]
            if over:
                raise Malformed("the connection ended inside an answer, or before one")


def judge(asked: Case, number: int, answer: Answer, got: Got) -> None:
    """Enter an answer into the books, and say what is wrong with it."""
    if answer.status >= 400:
        code = answer.code
        got.failed[answer.status, code] += 1
        if code == "internal_error":
            got.findings.append(("internal_error", number, asked.kind))
        return
    if answer.status >= 300:
        got.findings.append(("a redirect", number, str(answer.status)))
    stream = answer.is_stream and asked.stream and answer.status == 200
    try:
        problem, failed = _judge_stream(asked, answer) if stream else (_judge_whole(asked, number, answer), False)
    except UnicodeDecodeError as error:
        problem, failed = f"invalid UTF-8: {error.object[max(0, error.start - 40) : error.end + 20]!r}", False
    except (ValueError, RecursionError) as error:
        problem, failed = f"no JSON: {error!r:.100} {answer.body[-300:]!r}", False
    if failed:
        got.failed[200, "in-band"] += 1
    else:
        got.ok += 1
    if problem:
        kind, _, detail = problem.partition(":")
        got.findings.append((kind, number, f"{asked.kind} {asked.path} {asked.route}:{detail}"))


def _judge_whole(asked: Case, number: int, answer: Answer) -> str:
    if answer.status != 200 or not answer.header(b"content-type"):
        return ""  # it does not say that it is what was asked for
    told = json.loads(answer.body)
    if not isinstance(told, dict):
        return f"no object: {answer.body[:100]!r}"
    if told.get("error") and not (told.keys() & {"choices", "output", "data"}):
        return f"an error with status 200: {answer.body[:100]!r}"
    if asked.payload or asked.path == "/v1/embeddings":
        return ""
    good = answer.header(b"x-understudy-upstream") == b"good"
    text, name = (GOOD_TEXT, "x-1") if good else (asked.text, f"id-{number}")
    return (
        ""
        if (_text(told), told["id"]) == (text, name)
        else f"another text: expected {text!r} of {name}, got {answer.body[:300]!r}"
    )


def _text(told: dict[str, Any]) -> str:
    if "output" in told:
        return str(told["output"][0]["content"][0]["text"])
    choice = told["choices"][0]
    return str(choice.get("text") or choice.get("message", {}).get("content"))


def _judge_stream(asked: Case, answer: Answer) -> tuple[str, bool]:
    """What is wrong, "" if nothing is, and whether the stream says that it failed."""
    events = [data for one in _EVENT_END.split(answer.body) if (data := _data(one)) is not None]
    decoded = [one if one == "[DONE]" else json.loads(one) for one in events]
    failed = [isinstance(one, dict) and _is_failure(asked.path, one) for one in decoded]
    if any(failed):
        after = decoded[failed.index(True) + 1 :]
        return (f"something after an error: {after[:3]}" if after else ""), True
    ends = [place for place, one in enumerate(decoded) if _is_end(asked.path, one)]
    if not ends:
        return f"no end: {events[-3:]}", False
    if ends[0] != len(decoded) - 1:
        return f"something after the end: {events[ends[0] :][:3]}", False
    if asked.payload:
        return "", False
    text = "".join(_pieces(decoded))
    rescued = asked.route != "alone" and text.endswith(GOOD_TEXT) and asked.text.startswith(text[: -len(GOOD_TEXT)])
    return ("" if text == asked.text or rescued else f"another text: expected {asked.text!r}, got {text!r}"), False


def _is_end(path: str, event: Any) -> bool:
    if path != "/v1/responses":
        return bool(event == "[DONE]")
    return isinstance(event, dict) and event.get("type") in ("response.completed", "response.incomplete")


def _is_failure(path: str, event: dict[str, Any]) -> bool:
    return bool(event.get("error")) or (path == "/v1/responses" and event.get("type") in ("error", "response.failed"))


def _data(event: bytes) -> str | None:
    lines = [line[5:].removeprefix(b" ") for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return b"\n".join(lines).decode() if lines else None


def _pieces(events: list[Any]) -> Iterator[str]:
    for event in events:
        if event == "[DONE]":
            continue
        if isinstance(event.get("delta"), str):
            yield event["delta"]
        for choice in event.get("choices") or ():
            yield choice.get("text") or (choice.get("delta") or {}).get("content") or ""
