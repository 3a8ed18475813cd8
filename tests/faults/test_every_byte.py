"""The seam is invisible: a stream cut after any number of bytes still comes to the whole text, once.

Not a sample: every offset of the first leg's bytes, its headers included, is cut at, with a provider that continues a
partial answer and with one that answers anew.
"""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.faults.answers import DONE, END, HEAD, chunk, chunked, good, role
from tests.faults.client import RawCaller, Reply
from tests.faults.server import CLOSE, RESET, Call, Provider, Step
from tests.support.processes import GatewayProcess

PIECES = ("Grüße", " aus", " 世", "界", ' "\\', " 👋", "🏽", "!\n")
TEXT = "".join(PIECES)
MODEL = "s"
USAGE = {"prompt_tokens": 1, "completion_tokens": len(PIECES), "total_tokens": 1 + len(PIECES)}
EVENTS = (role(MODEL), *(chunk(MODEL, {"content": piece}) for piece in PIECES), chunk(MODEL, {}, "stop"))
STREAM = HEAD + b"".join(chunked(one) for one in (*EVENTS, chunk(MODEL, None, usage=USAGE), DONE)) + END
FINISHED_AT = len(HEAD) + sum(len(chunked(one)) for one in EVENTS)
REPORTED_AT = FINISHED_AT + len(chunked(chunk(MODEL, None, usage=USAGE)))
CONNECTIONS = 24
RESET_EVERY = 9  # a reset must wait for what was sent to be read, so it is tried at fewer places


def _cut(call: Call) -> Iterable[Step]:
    """Cut where the user's message says, and now and then let what comes before it arrive in two pieces."""
    at, how = call.json["messages"][0]["content"].split()
    whole = STREAM[: int(at)]
    if len(whole) % 3 == 1:
        yield from (whole[: len(whole) // 2], 0.002)
        whole = whole[len(whole) // 2 :]
    yield whole
    if int(at) == len(STREAM):
        return
    if how == "reset":
        yield 0.03
    yield RESET if how == "reset" else CLOSE


def _problems(reply: Reply, at: int) -> list[str]:
    """What a client could see of the seam. An answer that was cut between its finish and its usage is whole, and has
    none: nobody is asked for another answer for the sake of a number."""
    unreported = FINISHED_AT - len(b"\n\n\r\n") <= at < REPORTED_AT
    roles = sum("role" in delta for delta in reply.deltas)
    usages = [one for one in reply.chunks if one.get("usage")]
    models = list(dict.fromkeys(one["model"] for one in reply.chunks))
    found = {
        f"status {reply.status}": reply.status == 200,
        "its framing is broken": reply.whole,
        f"text {reply.streamed_text!r}": reply.streamed_text == TEXT,
        f"error {reply.error}": reply.error is None,
        "an event that is no JSON": all(one is not None for one in reply.events),
        f"ids { ({one['id'] for one in reply.chunks}) }": len({one["id"] for one in reply.chunks}) == 1,
        f"finish reasons {reply.finishes}": reply.finishes == ["stop"],
        f"{roles} roles": roles == 1,
        f"{len(usages)} usages": len(usages) == 1 or (unreported and not usages),
        f"models {models}": models in ([MODEL], ["b"], [MODEL, "b"]),
        "no end mark": reply.events[-1:] == ["[DONE]"] and reply.events.count("[DONE]") == 1,
    }
    return [problem for problem, well in found.items() if not well]


async def _ask_all(port: int, cuts: list[tuple[int, str]]) -> dict[str, list[str]]:
    """Ask for each cut, on two dozen connections; what was wrong, by cut."""
    todo, wrong = iter(cuts), {}

    async def ask_on() -> None:
        raw = await RawCaller.connect(port)
        for at, how in todo:
            content = f"{at} {how}"
            await raw.post(
                {
                    "model": "chat",
                    "messages": [{"role": "user", "content": content}],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                }
            )
            reply = await raw.reply()
            if problems := _problems(reply, at):
                wrong[content] = [*problems, json.dumps(reply.body.decode("utf-8", "replace"))[-300:]]
        raw.leave()

    await asyncio.gather(*(ask_on() for _ in range(CONNECTIONS)))
    return wrong


@pytest.mark.parametrize("continues", ["prefill", "no"])
async def test_a_cut_at_every_byte(tmp_path: Path, continues: str) -> None:
    small, big = Provider(_cut), Provider(good(TEXT, continues=continues == "prefill"))
    await small.start()
    await big.start()
    patient = {"breaker": {"min_requests": 1_000_000}}
    upstreams = {
        "small": {"base_url": f"http://127.0.0.1:{small.port}/v1", "model": MODEL, **patient},
        "big": {"base_url": f"http://127.0.0.1:{big.port}/v1", "model": "b", "continues": continues, **patient},
    }
    routes = {"chat": {"teacher": "big", "student": "small", "student_percent": 100}}
    gateway = await asyncio.to_thread(GatewayProcess, {"upstreams": upstreams, "routes": routes}, tmp_path)
    cuts = [(at, "close") for at in range(len(STREAM) + 1)]
    cuts += [(at, "reset") for at in range(len(HEAD), len(STREAM), RESET_EVERY)]
    try:
        wrong = await _ask_all(gateway.port, cuts)
        ok = await _settled(gateway, len(cuts))
    finally:
        await asyncio.to_thread(gateway.stop)
        await small.stop()
        await big.stop()
    assert len(cuts) > 1000
    assert not wrong, f"{len(wrong)} of {len(cuts)} cuts, the first: {list(wrong.items())[:3]}"
    assert ok == len(cuts)
    assert sum(call.prefill is not None for call in big.calls) > (len(STREAM) // 2 if continues == "prefill" else -1)


async def _settled(gateway: GatewayProcess, requests: int) -> float:
    """How many requests are counted as well, once as many are counted as were sent or a second has passed."""
    for _ in range(20):
        ok = await asyncio.to_thread(gateway.metric, "understudy_requests_total", outcome="ok")
        if ok >= requests:
            break
        await asyncio.sleep(0.05)
    return ok
