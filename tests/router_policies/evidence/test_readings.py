import pytest

from router_policies.evidence.readings import CheckReading, Reading, Verdict
from router_policies.evidence.rules import Rule

PASS, FAIL, UNDECIDED = Verdict.PASS, Verdict.FAIL, Verdict.UNDECIDED


def reading(stratum: str, verdict: Verdict, log_e: float, alarmed_at: int | None = None) -> Reading:
    return Reading(stratum, 10, 0.1, 0.0, 1.0, log_e, 3.0, None, verdict, alarmed_at)


@pytest.mark.parametrize(
    ("cells", "decides"),
    [
        ([(PASS, 9.0), (PASS, 4.0)], 1),
        ([(PASS, 9.0), (UNDECIDED, 1.0), (UNDECIDED, 2.0)], 1),
        ([(UNDECIDED, -1.0), (FAIL, 8.0)], 1),  # an alarm, after much good evidence
        ([(UNDECIDED, 5.0), (PASS, 4.0)], 0),  # a tolerance that is refused
        ([(FAIL, -3.0), (FAIL, -9.0)], 1),
    ],
)
def test_the_cell_that_decides(cells: list[tuple[Verdict, float]], decides: int) -> None:
    check = CheckReading(Rule("format", 0.05), tuple(reading(str(i), *cell) for i, cell in enumerate(cells)))
    assert check.weakest.stratum == str(decides)
    assert check.verdict is cells[decides][0]


def test_the_first_alarm_is_the_checks() -> None:
    cells = (reading("a", FAIL, 0.0, 70), reading("b", PASS, 9.0), reading("c", FAIL, 0.0, 50))
    assert CheckReading(Rule("format", 0.05), cells).alarmed_at == 50
    assert CheckReading(Rule("format", 0.05), cells[1:2]).alarmed_at is None


def test_evidence_that_no_float_holds_is_shown_all_the_same() -> None:
    assert 1e300 < reading("a", PASS, 5000.0).e_value < float("inf")
