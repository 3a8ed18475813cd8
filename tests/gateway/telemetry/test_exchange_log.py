"""The exchange log: every line whole, whatever becomes of the file."""

import json
import resource
from pathlib import Path

from gateway.exchange import Exchange, Outcome
from gateway.telemetry import exchange_log
from gateway.telemetry.exchange_log import ExchangeLog
from router_policies.attempts import Kind
from router_policies.decide import SPLIT, decide
from router_policies.facts import Facts
from router_policies.prices import Usage
from router_policies.routes import Role, Route, Routes


def exchange(number: int) -> Exchange:
    decision = decide(Facts("chat", f"user={number}"), Routes.of(Route("chat", "big", "small", 25.0, version=3)))
    return Exchange(
        request_id=f"r{number}",
        endpoint="/v1/chat/completions",
        tenant="shop",
        key_name="app",
        decision=decision,
        upstream="small",
        role=Role.STUDENT,
        kind=Kind.PRIMARY,
        reason=SPLIT,
        stream=True,
        status=200,
        outcome=Outcome.OK,
        ttft_s=0.25,
        ttlt_s=1.5,
        overhead_s=0.0001,
        usage=Usage(10, 20, 5),
        estimated=False,
        cost_nano_usd=12_345,
    )


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_a_line_tells_what_happened(tmp_path: Path) -> None:
    log = ExchangeLog(tmp_path / "log")
    log.add(exchange(1))
    await log.flush()
    (line,) = lines(tmp_path / "log")
    assert (line["request_id"], line["route"], line["route_version"]) == ("r1", "chat", 3)
    assert (line["usage"], line["cost_nano_usd"]) == ({"input": 10, "output": 20, "cached_input": 5}, 12_345)
    assert line["decided"] == {
        "role": exchange(1).decision.role,
        "upstream": exchange(1).decision.upstream,
        "reason": "split",
        "point": exchange(1).decision.point,
        "propensity": exchange(1).decision.propensity,
    }


async def test_a_file_that_was_renamed_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = ExchangeLog(path)
    for number in range(3):
        log.add(exchange(number))
        await log.flush()
        path.rename(tmp_path / f"log.{number}")
    await log.flush()
    assert [lines(tmp_path / f"log.{number}")[0]["request_id"] for number in range(3)] == ["r0", "r1", "r2"]
    assert not path.exists()


async def test_what_cannot_be_written_now_is_written_later_and_once(tmp_path: Path) -> None:
    path = tmp_path / "later" / "log"
    log = ExchangeLog(path)
    log.add(exchange(1))
    await log.flush()
    assert "No such file" in log.error
    path.parent.mkdir()
    log.add(exchange(2))
    await log.flush()
    await log.flush()
    assert [line["request_id"] for line in lines(path)] == ["r1", "r2"]
    assert log.error == ""


async def test_half_a_line_is_none(tmp_path: Path) -> None:
    """A disk that fills up within a write, here by a limit on the file's size."""
    path = tmp_path / "log"
    log = ExchangeLog(path)
    log.add(exchange(1))
    await log.flush()
    whole = path.stat().st_size
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 50, most))
    try:
        log.add(exchange(2))
        await log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert "No space" in log.error
    assert path.stat().st_size == whole
    await log.flush()
    assert [line["request_id"] for line in lines(path)] == ["r1", "r2"]


async def test_what_waits_is_bounded_and_the_rest_counted(tmp_path: Path) -> None:
    log = ExchangeLog(tmp_path / "nowhere" / "log")
    one = exchange(1)
    for _ in range(exchange_log.MOST_WAITING + 7):
        log.add(one)
    assert log.dropped == 7
