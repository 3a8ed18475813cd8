"""Fixtures that tests of all kinds share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.support.processes import GatewayProcess
from tests.support.upstream import ScriptedUpstream, well_behaved


class StartGateway(Protocol):
    def __call__(
        self, config: dict[str, Any], *, workers: int = 1, env: dict[str, str] | None = None
    ) -> GatewayProcess: ...


@pytest.fixture
def gateway_process(tmp_path: Path) -> Iterator[StartGateway]:
    """Start real gateways with a config (listen and store are filled in); they are stopped when the test ends."""
    started: list[GatewayProcess] = []

    def start(config: dict[str, Any], *, workers: int = 1, env: dict[str, str] | None = None) -> GatewayProcess:
        started.append(GatewayProcess(config, tmp_path / f"gateway-{len(started)}", workers, env))
        return started[-1]

    yield start
    for gateway in started:
        if gateway.process.poll() is None:
            gateway.kill()


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """A model server that answers as asked; set its `script` for anything else."""
    with ScriptedUpstream(well_behaved()) as server:
        yield server


@pytest.fixture
def student() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(well_behaved(("I", " am", " small"))) as server:
        yield server


@pytest.fixture
def teacher() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(well_behaved(("I", " am", " big"))) as server:
        yield server
