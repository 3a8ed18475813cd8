"""How an answer that broke in the middle is ended: continued, answered anew, or told to the client as an error."""

import json
from collections.abc import Iterable

from tests.faults.answers import (
    END,
    HEAD,
    TEXT,
    always,
    broken_after,
    chunk,
    chunked,
    completion,
    error,
    events,
    good,
    response,
    words_of,
)
from tests.faults.case import DEADLINES, SLACK_S, Case, Expect, Mode, Stage
from tests.faults.cases.streams import ONLY_STREAMING, RESCUED, WORDS_BEFORE
from tests.faults.server import CLOSE, SILENCE, Call, Refusing, Script, Step

CUT = broken_after(WORDS_BEFORE, CLOSE)
OTHER_TEXT = "I am another model, and I would put it differently."
BROKEN = Expect(
    text=None, by="small", in_stream=True, code="upstream_broke_off", outcome="truncated", within_s=(0.0, 1.0)
)
TOOL = {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}
ARGUMENTS = json.dumps({"order": "№42", "carrier": "Zürich Post", "urgent": True}, ensure_ascii=False)
JSON_TEXT = json.dumps({"order": 42, "city": "Zürich", "note": "noon → 世界", "items": [1, 2, 3]}, ensure_ascii=False)


def _vllm(call: Call) -> Iterable[Step]:
    """vLLM continues a last assistant message only if told so, and refuses both flags at once."""
    body = call.json
    if body.get("continue_final_message") is True and body.get("add_generation_prompt") is False:
        return good()(call)
    if call.prefill is not None:
        return [
            response(error("add_generation_prompt and continue_final_message exclude each other"), "400 Bad Request")
        ]
    return good(continues=False)(call)


def _refuses_prefill(call: Call) -> Iterable[Step]:
    """As Anthropic's newer models answer a request that ends in an assistant message."""
    if call.prefill is not None:
        told = error("This model does not support assistant message prefill.", "invalid_request_error")
        return [response(told, "400 Bad Request")]
    return good()(call)


def _tool_call(*, cut: bool) -> Script:
    def script(call: Call) -> Iterable[Step]:
        model = call.json["model"]
        function = {"name": "track", "arguments": ARGUMENTS}
        if not call.streams:
            calls = [{"id": f"call-{model}", "type": "function", "function": function}]
            whole = response(completion(model, {"content": None, "tool_calls": calls}, "tool_calls"))
            yield from ((whole[: len(whole) // 2], 0.02, CLOSE) if cut else (whole,))
            return
        first = {"index": 0, "id": f"call-{model}", "type": "function", "function": {"name": "track", "arguments": ""}}
        told = [chunk(model, {"role": "assistant", "content": None, "tool_calls": [first]})]
        for piece in words_of(ARGUMENTS):
            told.append(chunk(model, {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
        yield HEAD
        if cut:
            yield from (b"".join(chunked(one) for one in told[:3]), 0.05, CLOSE)
            return
        told.append(chunk(model, {}, "tool_calls"))
        told += events(call, ())[-2:]  # usage and [DONE]
        yield b"".join(chunked(one) for one in told) + END

    return script


def _cut_json(call: Call) -> Iterable[Step]:
    model = call.json["model"]
    if not call.streams:
        whole = response(completion(model, {"content": JSON_TEXT}))
        yield from (whole[: len(whole) // 2], 0.02, CLOSE)
        return
    pieces = [JSON_TEXT[at : at + 5] for at in range(0, len(JSON_TEXT), 5)]
    yield HEAD + b"".join(chunked(one) for one in events(call, pieces)[:5])
    yield from (0.05, CLOSE)


def _cut_again(call: Call) -> Iterable[Step]:
    """Continues by two words, then closes, each time."""
    rest = TEXT[len(call.prefill or "") :]
    yield HEAD + b"".join(chunked(one) for one in events(call, words_of(rest))[:3])
    yield from (0.05, CLOSE)


async def _whole_or_refused(stage: Stage, whole: object, got: object, raised: object) -> None:
    """Either the very thing, or an error that the client cannot overlook; nothing between."""
    if raised is None:
        stage.must_be("what the client has", got, whole)
    stage.must(stage.streaming or raised is None, f"nothing had been sent, and the client raised {raised!r}")


async def _tool_calls(stage: Stage) -> None:
    reply = await stage.ask(tools=[TOOL])
    stage.caller_got = stage.describe(reply)
    await stage.no_leg_left_open(reply.ended_at)
    await _whole_or_refused(stage, {"track": ARGUMENTS}, reply.tool_calls, reply.raised)
    stage.must_lie("the caller's time", reply.took_s, (0.0, 1.0))


async def _json_mode(stage: Stage) -> None:
    reply = await stage.ask(response_format={"type": "json_object"})
    stage.caller_got = stage.describe(reply)
    await stage.no_leg_left_open(reply.ended_at)
    await _whole_or_refused(stage, JSON_TEXT, reply.text, reply.raised)
    stage.must_lie("the caller's time", reply.took_s, (0.0, 1.0))


STALL_S = DEADLINES["stall_s"]
NO_PREFILL = {"continues": "no"}

CASES = (
    Case(
        name="rescue-prefill",
        fault="cut; big continues an assistant message",
        small=CUT,
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="rescue-vllm",
        fault="cut; big is vLLM: `continue_final_message`",
        small=CUT,
        big=_vllm,
        big_config={"continues": "vllm"},
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="rescue-found-out",
        fault="cut; how big continues is not configured, its list of models says llama.cpp",
        small=CUT,
        big_owner="llamacpp",
        big_config={"continues": "auto"},
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="rescue-anew",
        fault="cut; big cannot continue, and answers the same anew",
        small=CUT,
        big=good(continues=False),
        big_config=NO_PREFILL,
        modes=ONLY_STREAMING,
        expect=RESCUED,
    ),
    Case(
        name="rescue-mismatch",
        fault="cut; big cannot continue, and answers something else",
        small=CUT,
        big=good(OTHER_TEXT, continues=False),
        big_config=NO_PREFILL,
        modes=ONLY_STREAMING,
        expect=BROKEN,
    ),
    Case(
        name="rescue-too-short",
        fault="cut; big cannot continue, and answers less than was sent",
        small=CUT,
        big=good("Grüße aus", continues=False),
        big_config=NO_PREFILL,
        modes=ONLY_STREAMING,
        expect=BROKEN,
    ),
    Case(
        name="rescue-prefill-refused",
        fault="cut; big is said to continue, and refuses to",
        small=CUT,
        big=_refuses_prefill,
        modes=ONLY_STREAMING,
        expect=BROKEN.but(code=None, outcome=None),
    ),
    Case(
        name="rescue-refused-connection",
        fault="cut; big cannot be reached",
        small=CUT,
        big=Refusing,
        modes=ONLY_STREAMING,
        expect=BROKEN,
    ),
    Case(
        name="rescue-breaks-too",
        fault="cut; big breaks as well, a little further on, each time",
        small=CUT,
        big=_cut_again,
        modes=ONLY_STREAMING,
        expect=BROKEN.but(small=1, big=2),
    ),
    Case(
        name="rescue-silent",
        fault="cut; big is silent",
        small=CUT,
        big=always(SILENCE),
        modes=ONLY_STREAMING,
        expect=BROKEN.but(within_s=(0.6, 0.8 + SLACK_S)),
    ),
    Case(
        name="mid-stream-error",
        fault="cut, on a route with `mid_stream: error`",
        small=CUT,
        fallback={"mid_stream": "error"},
        modes=ONLY_STREAMING,
        expect=BROKEN.but(big=0),
    ),
    Case(
        name="no-fallback",
        fault="cut, on a route without a fallback; small continues its own answer",
        small=lambda call: CUT(call) if call.number == 1 else good()(call),
        small_config={"continues": "prefill"},
        fallback={"order": []},
        modes=ONLY_STREAMING,
        expect=Expect(by="small", small=2, big=0, within_s=(0.0, 1.0)),
    ),
    Case(
        name="rescue-tool-call",
        fault="cut inside a tool call's arguments: whole in the end, or clearly refused",
        small=_tool_call(cut=True),
        big=_tool_call(cut=False),
        play=_tool_calls,
    ),
    Case(
        name="rescue-json",
        fault="cut inside JSON that was asked for: whole in the end, or clearly refused",
        small=_cut_json,
        big=good(JSON_TEXT),
        play=_json_mode,
    ),
    Case(
        name="rescue-slow",
        fault="cut; the continuation's first token takes half a second",
        small=CUT,
        big=good(first_s=0.5),
        modes=(Mode.STREAMING,),
        expect=RESCUED.but(within_s=(0.5, 0.5 + 2 * SLACK_S)),
    ),
)
