"""Real language models for the end-to-end tests: one model file, two engines, started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.engines import Engine
from gateway.model_file import fetch_model


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The demo's model file."""
    return fetch_model(progress=False)


@pytest.fixture(scope="session")
def engines(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine]]:
    """A running teacher and a running student on the same weights; the models are named after their roles.

    Tests that stop, kill or overload an engine start their own instead.
    """
    logs = tmp_path_factory.mktemp("engines")
    teacher, student = (Engine(model_path, role, logs / f"{role}.log") for role in ("teacher", "student"))
    pair = (teacher, student)
    try:
        for engine in pair:
            engine.start()
        for engine in pair:
            engine.wait_ready()
        yield pair
    finally:
        for engine in pair:
            engine.stop()
