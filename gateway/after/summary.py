"""What the newest records of a route come to, for people: counts and shares, without a claim about the future."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from router_policies.shadow import Arm

Document = Mapping[str, Any]


def arms(records: Iterable[Document]) -> dict[str, Any]:
    """By arm: how many records, how many of them are pairs, why the others are none, and of the pairs, by family of
    checks, how many differ in any of its checks, and in how many the student fails one that the teacher does not. A
    record is one as it was kept (`gateway.after.sample.Record`, as JSON)."""
    listed = list(records)
    return {arm.value: _arm([record for record in listed if record["arm"] == arm]) for arm in Arm}


def disagrees(record: Document) -> bool:
    """Whether any check finds the two answers to differ."""
    return any(not one["agree"] for one in record["verdicts"])


def _arm(records: list[Document]) -> dict[str, Any]:
    lost = Counter(str(record["reason"]) for record in records if record["reason"] is not None)
    pairs = [record for record in records if record["reason"] is None]
    families: dict[str, dict[str, Any]] = {}
    for record in pairs:
        for family, differs, worse in _families(record):
            told = families.setdefault(family, {"pairs": 0, "disagree": 0, "student_worse": 0})
            told["pairs"] += 1
            told["disagree"] += differs
            told["student_worse"] += worse
    for told in families.values():
        told["disagree_share"] = told["disagree"] / told["pairs"]
        told["student_worse_share"] = told["student_worse"] / told["pairs"]
    return {"records": len(records), "pairs": len(pairs), "lost": dict(lost.most_common()), "families": families}


def _families(record: Document) -> Iterator[tuple[str, bool, bool]]:
    by_family: dict[str, list[Document]] = {}
    for one in record["verdicts"]:
        by_family.setdefault(one["family"], []).append(one)
    for family, ones in by_family.items():
        yield family, not all(one["agree"] for one in ones), any(one["student_worse"] for one in ones)
