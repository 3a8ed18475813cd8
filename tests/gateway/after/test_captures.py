"""Capture against real sockets and a real disk: what is kept, how, and that every request comes to one end."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import Any

import pytest

from gateway.after.captures import THREADS
from gateway.after.sealing import Seal
from gateway.config import parse
from gateway.face.openai import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Endpoint
from gateway.intake import admit
from gateway.relay import Relay
from gateway.state import Gateway, Identity
from gateway.telemetry.capture import Fate
from tests.gateway.after.test_shadows import speaking
from tests.gateway.test_relay import Client
from tests.support.upstream import CLOSE, RESET, ScriptedUpstream, response, stream_events, well_behaved

APP = Identity("app", "shop", admin=False)
YES = {b"x-understudy-consent": b"train"}
KEY = "00" * 31 + "ff"


@asynccontextmanager
async def gateway_of(
    student: ScriptedUpstream, teacher: ScriptedUpstream, folder: Path, *, capture: Any = None, **route: Any
) -> AsyncIterator[Gateway]:
    """Closed at the end, so that all is written and counted then."""
    gateway = Gateway.build(config := parse(document(student, teacher, folder, capture=capture, **route), "test", {}))
    gateway.apply(config, {"chat": 7}, 1)
    await gateway.captures.flush()
    try:
        yield gateway
    finally:
        await gateway.close()


def document(
    student: ScriptedUpstream, teacher: ScriptedUpstream, folder: Path, *, capture: Any = None, **route: Any
) -> dict[str, Any]:
    upstreams = {
        name: {"base_url": server.base_url, "model": f"{name}-model", "revision": f"{name}-1"}
        for name, server in (("small", student), ("big", teacher))
    }
    captured = {"sample": 1.0, "dir": str(folder), **(capture or {})}
    chat = {"teacher": "big", "student": "small", "student_percent": 100, "fallback": {"retries": 0}, **route}
    return {"upstreams": upstreams, "routes": {"chat": {"capture": captured, **chat}}}


async def ask(
    gateway: Gateway,
    endpoint: Endpoint = CHAT,
    *,
    headers: Any = YES,
    identity: Identity = APP,
    leaves_after_s: float | None = None,
    raw: bytes | None = None,
    **fields: Any,
) -> Client:
    body = {"model": "chat", "messages": [{"role": "user", "content": "Hi"}], **fields}
    if endpoint is not CHAT:
        body["input" if endpoint in (RESPONSES, EMBEDDINGS) else "prompt"] = body.pop("messages")[0]["content"]
    sent = raw if raw is not None else json.dumps(body).encode()
    client = Client()
    relay = Relay(gateway, client, admit(gateway, "id-1", endpoint, b"", headers, sent, identity, monotonic()))
    relay.start()
    if leaves_after_s is not None:
        await asyncio.sleep(leaves_after_s)
        relay.client_gone()
    else:
        await asyncio.wait_for(client.over.wait(), 10)
    return client


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def traces(folder: Path, key: str | None = None) -> list[dict[str, Any]]:
    found: list[bytes] = []
    for path in sorted(folder.glob("chat/*.jsonl*")):
        with path.open("rb") as file:
            found += file.readlines() if key is None else Seal(bytes.fromhex(key)).lines(file)
    return [json.loads(line) for line in found]


def fates(gateway: Gateway) -> dict[str, int]:
    """Those of which there are any."""
    name = "understudy_capture_total"
    told = {fate.value: gateway.metrics.registry.get_sample_value(name, labels(fate)) for fate in Fate}
    return {fate: int(count) for fate, count in told.items() if count}


@contextmanager
def hanging(gateway: Gateway) -> Iterator[None]:
    """A disk that does not answer: every thread that could write waits."""
    released = Event()
    for _ in range(THREADS):
        gateway.captures._io.submit(released.wait, 30)
    yield
    released.set()


def labels(fate: Fate) -> dict[str, str]:
    return {"route": "chat", "outcome": fate.value}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("endpoint", [CHAT, COMPLETIONS, RESPONSES])
async def test_a_trace_has_what_was_asked_and_what_the_client_was_sent(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path, endpoint: Endpoint, stream: bool
) -> None:
    student.script = speaking(endpoint)
    headers = {**YES, b"authorization": b"Bearer sk-secret", b"x-session-id": b"s-1", b"cookie": b"c=1"}
    async with gateway_of(student, teacher, tmp_path) as gateway:
        client = await ask(gateway, endpoint, headers=headers, stream=stream, user="ada", temperature=0.5)
    (trace,) = traces(tmp_path)
    assert trace["answer"] == client.body.decode()
    assert "Hel" in trace["answer"]
    request = trace.pop("request")
    assert (request["model"], request["temperature"], request["user"]) == ("chat", 0.5, "ada")
    assert trace.pop("at") == pytest.approx(time(), abs=30)
    del trace["answer"]
    assert trace == {
        "format": "understudy-trace/1",
        "id": "id-1",
        "route": "chat",
        "route_version": 7,
        "endpoint": endpoint.path,
        "stream": stream,
        "tenant": "shop",
        "user": "ada",
        "session": "s-1",
        "consent": ["train"],
        "why": "sample",
        "probability": 1.0,
        "served": {"role": "student", "upstream": "small", "model": "small-model", "revision": "small-1"},
        "outcome": "ok",
    }
    assert not any(b"sk-secret" in path.read_bytes() for path in files(tmp_path))
    assert fates(gateway) == {"kept": 1}


METADATA = {"understudy_consent": "train"}


@pytest.mark.parametrize(
    ("headers", "metadata", "of_key", "kept"),
    [
        ({}, None, (), False),
        (YES, None, (), True),
        ({}, METADATA, (), True),
        ({}, None, ("train",), True),
        ({b"x-understudy-consent": b"evaluate"}, None, (), False),
        ({b"x-understudy-consent": b"none"}, METADATA, ("train",), False),
        (YES, {"understudy_consent": "none"}, ("train",), False),
        ({}, {"understudy_consent": ["train"]}, (), False),
        ({}, {"other": 1}, ("train",), True),
    ],
)
async def test_nothing_is_kept_without_consent(
    student: ScriptedUpstream,
    teacher: ScriptedUpstream,
    tmp_path: Path,
    headers: dict[bytes, bytes],
    metadata: Any,
    of_key: tuple[str, ...],
    kept: bool,
) -> None:
    identity = Identity("app", "shop", admin=False, consent=frozenset(of_key))
    async with gateway_of(student, teacher, tmp_path) as gateway:
        more = {} if metadata is None else {"metadata": metadata}
        await ask(gateway, headers=headers, identity=identity, **more)
    assert len(traces(tmp_path)) == kept
    assert fates(gateway) == {"kept" if kept else "no_consent": 1}
    assert b"consent" not in b"".join(json.dumps(one.headers).encode() for one in student.requests)


async def test_without_the_block_nothing_is_looked_at(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    config = parse(document(student, teacher, tmp_path), "test", {})
    off = config.model_copy(update={"routes": {"chat": config.routes["chat"].model_copy(update={"capture": None})}})
    gateway = Gateway.build(off)
    gateway.apply(off, {}, 1)
    await ask(gateway)
    await gateway.close()
    assert files(tmp_path) == []
    assert fates(gateway) == {}


async def test_a_fallback_is_kept_as_one_and_others_by_chance(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    capture = {"sample": 0.25, "fallback": 0.9, "disagreement": 0.0}
    async with gateway_of(student, teacher, tmp_path, capture=capture) as gateway:
        numbers = iter((0.2, 0.25, 0.89, 0.9, 0.1))
        gateway.captures._random = lambda: next(numbers)
        await ask(gateway)
        await ask(gateway)
        student.script = lambda request: [RESET]
        await ask(gateway)
        await ask(gateway)
        await ask(gateway)
    kept = traces(tmp_path)
    assert [(one["why"], one["probability"]) for one in kept] == [
        ("sample", 0.25),
        ("fallback", 0.9),
        ("fallback", 0.9),
    ]
    assert [one["served"]["upstream"] for one in kept] == ["small", "big", "big"]
    assert fates(gateway) == {"kept": 3, "not_drawn": 2}


async def until_compared(gateway: Gateway) -> None:
    async with asyncio.timeout(30):
        while gateway.captures._candidates:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("agrees", [True, False])
async def test_a_disagreement_is_kept_once_the_pair_is_scored(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path, agrees: bool
) -> None:
    teacher.script = well_behaved(("I", " am", " big") if agrees else ("{}",))
    student.script = well_behaved(("I", " am", " small"))
    shadow = {"sample": {"default": 1.0}, "aa_sample": 0}
    capture = {"sample": 0.1, "disagreement": 0.8}
    fields = {} if agrees else {"response_format": {"type": "json_object"}}
    async with gateway_of(
        student, teacher, tmp_path, capture=capture, shadow=shadow, fallback={"retries": 0, "verify": off()}
    ) as gateway:
        numbers = iter((0.05, 0.7, 0.8))
        gateway.captures._random = lambda: next(numbers)
        for _ in range(3):
            await ask(gateway, **fields)
        await until_compared(gateway)
    told = [(one["why"], one["probability"]) for one in traces(tmp_path)]
    if agrees:
        assert told == [("sample", 0.1)]
        assert fates(gateway) == {"kept": 1, "not_drawn": 2}
    else:
        assert told == [("disagreement", 0.8)] * 2
        assert fates(gateway) == {"kept": 2, "not_drawn": 1}


def off() -> dict[str, bool]:
    return {"json": False, "schema": False, "tools": False}


async def test_what_waits_for_a_pair_that_never_comes_ends_with_the_gateway(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    """What is known of it then decides."""
    teacher.script = lambda request: [30.0]
    async with gateway_of(
        student, teacher, tmp_path, capture={"sample": 0.5}, shadow={"sample": {"default": 1.0}, "aa_sample": 0}
    ) as gateway:
        numbers = iter((0.4, 0.6))
        gateway.captures._random = lambda: next(numbers)
        await ask(gateway)
        await ask(gateway)
        assert gateway.captures.state()[0]["waiting"] == 2
    assert [(one["why"], one["probability"]) for one in traces(tmp_path)] == [("sample", 0.5)]
    assert fates(gateway) == {"kept": 1, "not_drawn": 1}


async def test_who_leaves_early_leaves_what_was_sent_until_then(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    first, second, *rest = stream_events(("One", " two", " three"), usage=False)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    student.script = lambda request: [head, first, second, 5.0, *rest, CLOSE]
    async with gateway_of(student, teacher, tmp_path) as gateway:
        client = await ask(gateway, stream=True, leaves_after_s=0.5)
        before = await ask(gateway, stream=False, leaves_after_s=0.0)
    cut, none = traces(tmp_path)
    assert (cut["outcome"], cut["answer"]) == ("cancelled", client.body.decode())
    assert "One" in cut["answer"]
    assert "three" not in cut["answer"]
    assert (none["outcome"], none["answer"], before.body) == ("cancelled", "", b"")


async def test_errors_are_there_as_the_client_got_them(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    for server in (student, teacher):
        server.script = lambda request: [response({"error": {"message": "no"}}, "500 Internal Server Error")]
    async with gateway_of(student, teacher, tmp_path) as gateway:
        client = await ask(gateway)
    (trace,) = traces(tmp_path)
    assert (trace["outcome"], trace["answer"]) == ("upstream_error", client.body.decode())


async def test_each_request_comes_to_one_end_whatever_it_is(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    capture = {"max_body_bytes": 2000, "queue": 3}
    async with gateway_of(student, teacher, tmp_path, capture=capture) as gateway:
        with hanging(gateway):
            for _ in range(5):
                await ask(gateway)
        await gateway.captures.flush()
        await ask(gateway, messages=[{"role": "user", "content": "x" * 2000}])
        student.script = well_behaved(("y" * 2000,))
        await ask(gateway)
        student.script = well_behaved()
        await ask(gateway, EMBEDDINGS)
        await ask(gateway, headers={})
        await ask(gateway, raw=b'{"model":"chat","messages":[{"role":"user","content":"\xff"}]}')
        await ask(gateway, raw=b'{\n "model": "chat",\r\n "messages": [{"role": "user", "content": "two\\nlines"}]\n}')
    *_, last = traces(tmp_path)
    assert last["request"]["messages"][0]["content"] == "two\nlines"
    assert fates(gateway) == {"kept": 4, "queue_full": 2, "too_large": 2, "unsupported": 2, "no_consent": 1}
    requests = [
        sample.value
        for family in gateway.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "understudy_requests_total"
    ]
    assert sum(requests) == sum(fates(gateway).values()) == 11


async def test_room_is_bounded_in_bytes_too(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    async with gateway_of(student, teacher, tmp_path, capture={"queue_bytes": 5000}) as gateway:
        with hanging(gateway):
            for _ in range(6):
                await ask(gateway, messages=[{"role": "user", "content": "x" * 1000}])
    assert fates(gateway) == {"kept": 3, "queue_full": 3}


async def test_when_much_has_come_it_is_written_at_once(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    """Nobody calls `flush` here, and there is room for four at a time."""
    async with gateway_of(student, teacher, tmp_path, capture={"queue": 4}) as gateway:
        for number in range(12):
            await ask(gateway)
            async with asyncio.timeout(10):
                while number % 2 and gateway.captures.state()[0]["waiting"]:
                    await asyncio.sleep(0.01)
    assert fates(gateway) == {"kept": 12}


async def test_a_folder_that_cannot_be_used_is_told_once_and_waited_for(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    async with gateway_of(student, teacher, folder, capture={"queue": 2}) as gateway:
        for _ in range(3):
            client = await ask(gateway)
            assert client.status == 200
            await gateway.captures.flush()
        gateway.captures.show()
        name = "understudy_capture_failing"
        assert gateway.metrics.registry.get_sample_value(name, {"route": "chat"}) == 1
        assert "Error" in str(gateway.captures.state()[0]["error"])
        folder.unlink()
        await gateway.captures.flush()
        await ask(gateway)
    assert len(traces(folder)) == 3
    assert fates(gateway) == {"kept": 3, "write_failed": 1}
    warnings = Counter(record.message.partition(":")[0] for record in caplog.records if "capture" in record.message)
    assert warnings == {"capture of chat": 2}


async def test_at_max_bytes_nothing_more_is_kept_and_nothing_overwritten(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    async with gateway_of(student, teacher, tmp_path, capture={"max_bytes": 2500, "file_bytes": 1000}) as gateway:
        for _ in range(6):
            await ask(gateway)
            await gateway.captures.flush()
        kept = traces(tmp_path)
        oldest = next(path for path in files(tmp_path) if path.suffix == ".jsonl")
        assert "max_bytes" in str(gateway.captures.state()[0]["error"])
        oldest.unlink()
        await gateway.captures.flush()
        await ask(gateway)
    assert 2 <= len(kept) < 6
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2500
    assert fates(gateway) == {"kept": len(kept) + 1, "full": 6 - len(kept)}


async def test_what_is_changed_live_holds_from_the_next_line_on(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    async with gateway_of(student, teacher, one) as gateway:
        await ask(gateway)
        await gateway.captures.flush()
        sealed = parse(document(student, teacher, two, capture={"encrypt_key": KEY}), "test", {})
        gateway.apply(sealed, {"chat": 8}, 2)
        await ask(gateway)
        await gateway.captures.flush()
        await gateway.captures.flush()
        slow = well_behaved()
        student.script = lambda request: [0.3, *slow(request)]
        late = asyncio.create_task(ask(gateway))
        await asyncio.sleep(0.1)
        none = sealed.routes["chat"].model_copy(update={"capture": None})
        gateway.apply(sealed.model_copy(update={"routes": {"chat": none}}), {"chat": 9}, 3)
        await late
        await ask(gateway)
    assert [trace["route_version"] for trace in traces(one)] == [7]
    assert [trace["route_version"] for trace in traces(two, KEY)] == [8]
    assert not any(path.suffix == ".tally" for path in files(tmp_path))
    assert fates(gateway) == {"kept": 2, "disabled": 1}


async def test_a_mirrored_call_of_ours_is_nobodys_request(
    student: ScriptedUpstream, teacher: ScriptedUpstream, tmp_path: Path
) -> None:
    async with gateway_of(student, teacher, tmp_path) as gateway:
        await ask(gateway, headers={**YES, b"x-understudy-shadow": gateway.shadows.signed("pair")})
        await ask(gateway, headers={**YES, b"x-understudy-shadow": b"forged"})
    assert fates(gateway) == {"kept": 1, "unsupported": 1}
