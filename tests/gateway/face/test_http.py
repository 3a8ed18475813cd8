"""The face in this process: what connections leave behind when they are gone."""

import asyncio
import gc
import json
from pathlib import Path

import pytest
import uvicorn

from gateway.app import create_app
from gateway.config import parse
from gateway.face.cycle import HotCycle
from gateway.face.http import Face
from tests.support.configs import two_upstreams
from tests.support.processes import free_port
from tests.support.raw import post
from tests.support.upstream import ScriptedUpstream


@pytest.mark.parametrize("end", ["answered", "abandoned", "refused", "no HTTP"])
async def test_a_closed_connection_leaves_nothing_for_the_garbage_collector(
    upstream: ScriptedUpstream, tmp_path: Path, end: str
) -> None:
    port = free_port()
    config = parse({**two_upstreams(upstream, upstream), "store": f"sqlite:///{tmp_path / 'db'}"}, "test", {})
    settings = uvicorn.Config(create_app(config), http=Face, ws="none", lifespan="on", port=port, log_level="warning")
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    if end == "abandoned":
        upstream.script = lambda request: [30.0]
    body = b"{" if end == "refused" else json.dumps({"model": "support-chat", "messages": []}).encode()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post(body, extra="host: twice\r\n" if end == "no HTTP" else ""))
            if end == "abandoned":
                await asyncio.sleep(0.05)
            else:
                await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            del reader, writer
        await asyncio.sleep(0.1)
        left = [found for found in gc.get_objects() if isinstance(found, Face | HotCycle)]
        assert left == []
    finally:
        gc.enable()
        server.should_exit = True
        await serving
