"""Which threshold of deferral the pairs of shadow mode allow: the labels are the checks', the promise `calibrate`'s.

Pairs that were mirrored more often than others would count for more than they are of the traffic. So of those as many
are left out, by a hash of their id, that all that are left were as likely to be there: then they are a plain sample, as
the bound of Clopper and Pearson has it, and the same pairs give the same threshold.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from router_policies.evidence.records import difference
from router_policies.risk.deferral import Calibrated, calibrate
from router_policies.rollout.filed import Filed
from router_policies.shadow import Arm

_WHOLE = 2**64


@dataclass(frozen=True, slots=True)
class Threshold:
    """`found`: what the route's pairs say. `quantile`: of the confidence; with another it would be another threshold.
    `untold`: pairs whose student's confidence is not known, or of another quantile, or of which no check says anything;
    `thinned`: those left out for being mirrored more often than others. `lost`: samples without a pair."""

    route: str
    quantile: float
    found: Calibrated
    untold: int
    thinned: int
    lost: int


def thresholds(filed: Iterable[Filed], of: Sequence[str], *, bad_rate: float, delta: float) -> list[Threshold]:
    """For each route that has pairs which tell how sure the student was, by name. Bad is an answer that fails one of
    the checks `of` (families, or names) that the teacher's passes."""
    routes: dict[str, list[Filed]] = {}
    for one in filed:
        if one.arm is Arm.AB:
            routes.setdefault(one.route, []).append(one)
    found = (_threshold(route, records, of, bad_rate, delta) for route, records in sorted(routes.items()))
    return [one for one in found if one is not None]


def _threshold(
    route: str, records: Sequence[Filed], of: Sequence[str], bad_rate: float, delta: float
) -> Threshold | None:
    pairs = [one for one in records if one.reason is None]
    quantile = next((one.student.quantile for one in reversed(pairs) if one.student and one.student.quantile), None)
    if quantile is None:
        return None
    labelled = [(one, bad) for one in pairs if _sure(one, quantile) is not None and (bad := _bad(one, of)) is not None]
    least = min((one.probability for one, _ in labelled), default=1.0)
    kept = [(_sure(one, quantile) or 0.0, bad) for one, bad in labelled if _at(one.pair_id) < least / one.probability]
    return Threshold(
        route,
        quantile,
        calibrate(kept, bad_rate=bad_rate, delta=delta),
        untold=len(pairs) - len(labelled),
        thinned=len(labelled) - len(kept),
        lost=len(records) - len(pairs),
    )


def _sure(one: Filed, quantile: float) -> float | None:
    return one.student.sure if one.student is not None and one.student.quantile == quantile else None


def _bad(one: Filed, of: Sequence[str]) -> bool | None:
    about = [verdict for verdict in one.verdicts if verdict.check in of or verdict.family in of]
    value = difference(about, worse_only=True)
    return None if value is None else bool(value)


def _at(pair_id: str) -> float:
    return int.from_bytes(sha256(pair_id.encode()).digest()[:8], "big") / _WHOLE
