"""The checker that `benchmarks/control.py` relies on: each thing it must find, found, and what is right, let pass."""

from collections.abc import Iterator, Sequence
from itertools import permutations
from random import Random

import pytest

from benchmarks.control_history import Entry, Fault, Outcome, Read, Violation, Write, check


def made(version: int, began: float, ended: float, *, on: int | None = None, reason: str = "") -> Write:
    on = version - 1 if on is None else on
    return Write("r", reason or f"write {version}", on, began, ended, Outcome.MADE, version)


def refused(on: int, began: float, ended: float, reason: str) -> Write:
    return Write("r", reason, on, began, ended, Outcome.REFUSED)


def unknown(on: int, began: float, ended: float, reason: str = "") -> Write:
    return Write("r", reason or f"write {on + 1}", on, began, ended, Outcome.UNKNOWN)


def read(version: int, began: float, ended: float) -> Read:
    return Read("r", version, f"write {version}" if version else "", began, ended)


def trail(*reasons: str) -> list[Entry]:
    return [Entry("r", version, reason) for version, reason in enumerate(reasons, start=1)]


def faults(writes: Sequence[Write], reads: Sequence[Read], entries: Sequence[Entry]) -> list[Fault]:
    found: list[Violation] = check(writes, reads, entries)
    return [violation.fault for violation in found]


TWO = trail("write 1", "write 2")


def test_what_one_store_could_have_done_is_right() -> None:
    writes = [made(1, 0, 1), refused(0, 0, 1, "late"), unknown(1, 2, 3), unknown(1, 2, 9, "lost on its way")]
    reads = [
        *(read(0, 0.1, 0.5), read(1, 0.2, 0.3)),  # one still sees the old, while another has seen the new
        *(read(0, -1, 0.3), read(1, 1, 8), read(2, 5, 6), read(1, 3, 5), read(2, 8, 9)),
    ]
    assert check(writes, reads, TWO) == []


def test_an_unknown_write_may_be_made_after_its_client_has_gone() -> None:
    assert check([made(1, 0, 1), unknown(1, 2, 3)], [read(1, 50, 51), read(2, 60, 61)], TWO) == []


@pytest.mark.parametrize(
    ("writes", "reads", "entries", "expected"),
    [
        ([made(1, 0, 1), made(2, 2, 3)], [], trail("write 1"), [Fault.LOST]),
        ([made(1, 0, 1)], [], trail("write 1", "write 1"), [Fault.TWICE]),
        ([unknown(0, 0, 1)], [], trail("write 1", "write 1"), [Fault.TWICE]),
        ([made(1, 0, 1), refused(1, 2, 3, "no")], [], trail("write 1", "no"), [Fault.REFUSED]),
        ([made(1, 0, 1), made(2, 2, 3, on=0)], [], TWO, [Fault.OVERWROTE]),
        ([made(1, 0, 1)], [], trail("write 1", "from nowhere"), [Fault.UNASKED]),
        ([made(1, 0, 1)], [], [Entry("r", 2, "write 1")], [Fault.GAP, Fault.ELSEWHERE, Fault.OVERWROTE]),
        ([made(1, 0, 1)], [read(2, 2, 3)], trail("write 1"), [Fault.UNREAL]),
        ([made(1, 0, 1)], [Read("r", 1, "another", 2, 3)], trail("write 1"), [Fault.UNREAL]),
    ],
)
def test_what_the_trail_must_not_say(
    writes: list[Write], reads: list[Read], entries: list[Entry], expected: list[Fault]
) -> None:
    assert faults(writes, reads, entries) == expected


@pytest.mark.parametrize(
    ("writes", "reads"),
    [
        pytest.param([made(1, 0, 1), made(2, 2, 3)], [read(1, 4, 5)], id="a stale read of a confirmed write"),
        pytest.param([made(1, 0, 1), made(2, 2, 9)], [read(2, 3, 4), read(1, 5, 6)], id="back to the older one"),
        pytest.param([made(1, 0, 1), unknown(1, 2, 3)], [read(2, 3, 4), read(1, 5, 6)], id="and of an unknown write"),
        pytest.param([made(1, 0, 1), made(2, 5, 6)], [read(2, 2, 3)], id="read before it was asked for"),
        pytest.param([made(1, 5, 6), made(2, 0, 1)], [], id="made in another order than confirmed"),
        pytest.param([made(1, 0, 1), made(2, 2, 3)], [read(0, 2, 3)], id="as if the first were never made"),
    ],
)
def test_what_no_order_in_time_explains(writes: list[Write], reads: list[Read]) -> None:
    assert set(faults(writes, reads, TWO)) == {Fault.ORDER}


def test_routes_do_not_order_each_other() -> None:
    other = [Write("q", "other", 0, 8, 9, Outcome.MADE, 1)]
    assert check([made(1, 0, 1), *other], [Read("q", 0, "", 5, 6)], [*trail("write 1"), Entry("q", 1, "other")]) == []


def test_two_writes_of_one_reason_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="a reason of its own"):
        check([made(1, 0, 1, reason="same"), made(2, 2, 3, reason="same")], [], [])


def _random_history(numbers: Random) -> tuple[list[Write], list[Read], list[Entry]]:
    """Operations at random times: about half of such histories are right."""

    def interval() -> tuple[float, float]:
        began = numbers.randrange(12)
        return began, began + numbers.randrange(1, 7)

    versions = numbers.randrange(1, 4)
    writes = []
    for version in range(1, versions + 1):
        told = numbers.random() < 0.6
        writes.append(made(version, *interval()) if told else unknown(version - 1, *interval()))
    reads = [read(numbers.randrange(versions + 1), *interval()) for _ in range(numbers.randrange(4))]
    return writes, reads, trail(*(f"write {version}" for version in range(1, versions + 1)))


def _orders(writes: list[Write], reads: list[Read]) -> Iterator[list[Write | Read]]:
    """Every order of the operations that respects what ended before something else began."""
    for order in permutations([*writes, *reads]):
        ends = [
            float("inf") if isinstance(one, Write) and one.outcome is Outcome.UNKNOWN else one.ended for one in order
        ]
        if all(ends[later] >= order[at].began for at in range(len(order)) for later in range(at + 1, len(order))):
            yield list(order)


def _explains(order: list[Write | Read]) -> bool:
    """Whether one document, asked in this order, would have answered so."""
    version = 0
    for one in order:
        if isinstance(one, Write):
            if one.on != version:
                return False
            version += 1
        elif one.version != version:
            return False
    return True


def test_it_agrees_with_trying_every_order() -> None:
    """Wing and Gong's search, on histories small enough for it."""
    numbers = Random("understudy")
    agreed = {True: 0, False: 0}
    for _ in range(1500):
        writes, reads, entries = _random_history(numbers)
        right = any(map(_explains, _orders(writes, reads)))
        assert (check(writes, reads, entries) == []) is right, (writes, reads)
        agreed[right] += 1
    assert min(agreed.values()) > 100, agreed
