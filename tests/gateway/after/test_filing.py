"""What waits to be kept is kept once, or said to be lost."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from gateway.after import outbox as boxes
from gateway.after.filing import Filing
from gateway.after.outbox import Outbox
from gateway.after.sample import Record
from gateway.after.shadows import Shadows
from gateway.stores.pairs import Caps, Filed
from gateway.stores.protocols import StoreError
from gateway.stores.sqlite_pairs import SqlitePairs
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.opinions import OpinionMetrics
from gateway.telemetry.shadow import ShadowMetrics
from router_policies.routes import Role
from router_policies.shadow import Arm, Reason


def record(number: int, detail: str = "") -> Record:
    return Record(
        *(f"p-{number}", Arm.AB, float(number), "chat", 1, 1, "/v1/chat/completions", False, f"r-{number}", ""),
        *(Role.STUDENT, 0.5, 1.0, Reason.TIMEOUT, detail),
    )


@pytest.fixture
def shadows() -> Shadows:
    registry = Metrics().registry
    return Shadows(lambda: 0.0, ShadowMetrics(registry), OpinionMetrics(registry))


class Held(SqlitePairs):
    """One that keeps nothing until it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may = threading.Event()

    def file(self, filed: Sequence[Filed], caps: Caps) -> None:
        assert self.may.wait(10)
        super().file(filed, caps)


async def test_the_last_flush_loses_nothing_though_one_is_under_way(shadows: Shadows, tmp_path: Path) -> None:
    store = Held(tmp_path / "own.db")
    filing = Filing(shadows, store)
    for number in range(300):
        shadows.outbox.put(record(number), None)
    both = [asyncio.create_task(filing.flush()) for _ in range(2)]
    await asyncio.sleep(0.05)
    for number in range(300, 500):
        shadows.outbox.put(record(number), None)
    store.may.set()
    await asyncio.gather(*both)
    await filing.flush()
    assert len(store.records("chat", 0, 1000)) == 500
    assert (len(shadows.outbox), shadows.outbox.size) == (0, 0)
    filing.close()
    store.close()


async def test_while_the_store_is_down_all_waits_and_the_log_says_so(
    shadows: Shadows, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqlitePairs(tmp_path / "later" / "own.db")
    filing = Filing(shadows, store)
    shadows.outbox.put(record(1), None)
    with caplog.at_level(logging.WARNING):
        await filing.flush()
        await filing.flush()
    assert filing.error
    assert len([line for line in caplog.messages if "records wait" in line]) == 1
    (tmp_path / "later").mkdir()
    await filing.flush()
    assert (filing.error, len(store.records("chat", 0, 9))) == ("", 1)
    (tmp_path / "later" / "own.db").unlink()
    shadows.outbox.put(record(2), None)
    store.close()
    filing.close()
    assert "the last 1 records are lost" in caplog.text


def test_a_record_that_cannot_be_written_does_not_stop_the_others() -> None:
    box = Outbox()
    box.put(record(1, "half a pair: \ud83d"), None)
    box.put(record(2), None)
    assert ([filed.id for filed in box], box.dropped) == (["p-2-ab"], 1)


def test_what_waits_is_bounded_and_texts_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MOST_BYTES", 100_000)
    box = Outbox()
    for number in range(1000):
        box.put(record(number), "x" * 20_000)
    assert box.size <= 100_000
    with_texts = [filed.texts is not None for filed in box]
    assert with_texts[:4] == [True] * 4
    assert with_texts.count(True) == 4
    assert len(box) + box.dropped == 1000
    assert len(box) > 20
    monkeypatch.setattr(boxes, "MOST", len(box))
    box.put(record(1001), None)
    assert box.dropped == 1001 - len(box)


def test_batches_are_bounded_in_bytes_and_never_empty() -> None:
    box = Outbox()
    for number in range(5):
        box.put(record(number), "x" * 10_000)
    assert len(box.oldest(100, 25_000)) == 2
    assert len(box.oldest(100, 1)) == 1
    assert len(box.oldest(3, 10**9)) == 3
    box.take(5)
    assert (box.oldest(100, 1), box.size) == ([], 0)


async def test_a_store_that_refuses_is_no_error_of_the_job(shadows: Shadows, tmp_path: Path) -> None:
    class Refusing(SqlitePairs):
        def file(self, filed: Sequence[Filed], caps: Caps) -> None:
            raise StoreError("no")

    filing = Filing(shadows, Refusing(tmp_path / "own.db"))
    shadows.outbox.put(record(1), None)
    await filing.flush()
    assert (filing.error, len(shadows.outbox)) == ("no", 1)
    filing.close()
