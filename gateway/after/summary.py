"""What the newest records of a route come to, for people: counts and shares, without a claim about the future."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any

from router_policies.opinions import review
from router_policies.shadow import Arm

Document = Mapping[str, Any]
_REVIEW = re.compile(r"review ([01]\.[0-9]+)$")  # the end of what the check `content` says


def arms(records: Iterable[Document]) -> dict[str, Any]:
    """By arm: how many records, how many of them are pairs, why the others are none, and of the pairs, by family of
    checks, how many differ in any of its checks, and in how many the student fails one that the teacher does not; and
    what came of second opinions. A record is one as it was kept (`gateway.after.sample.Record`, as JSON)."""
    listed = list(records)
    return {arm.value: _arm([record for record in listed if record["arm"] == arm]) for arm in Arm}


def disagrees(record: Document) -> bool:
    """Whether any check finds the two answers to differ."""
    return any(not one["agree"] for one in record["verdicts"])


def to_review(record: Document) -> float:
    """How soon a pair is worth a look, from 0 to 1, by its contents: see `router_policies.opinions.review`."""
    said = (_REVIEW.search(one["evidence"]) for one in record["verdicts"] if one["family"] == "content")
    content = max((float(found[1]) for found in said if found), default=0.0)
    return review(content, ((one["outcome"], one["similarity"]) for one in record.get("opinions", ())))


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
    return {
        "records": len(records),
        "pairs": len(pairs),
        "lost": dict(lost.most_common()),
        "families": families,
        "opinions": _opinions(pairs),
    }


def _opinions(pairs: list[Document]) -> dict[str, Any]:
    """By kind: how many were drawn, what came of them, and of an embedding the median of its cosines."""
    told: dict[str, Any] = {}
    for kind in sorted({one["kind"] for record in pairs for one in record.get("opinions", ())}):
        mine = [one for record in pairs for one in record.get("opinions", ()) if one["kind"] == kind]
        outcomes = dict(Counter(one["outcome"] for one in mine).most_common())
        measured = [one["similarity"] for one in mine if one["similarity"] is not None]
        told[kind] = {"drawn": len(mine), "outcomes": outcomes}
        if measured:
            told[kind]["median_similarity"] = median(measured)
    return told


def _families(record: Document) -> Iterator[tuple[str, bool, bool]]:
    by_family: dict[str, list[Document]] = {}
    for one in record["verdicts"]:
        by_family.setdefault(one["family"], []).append(one)
    for family, ones in by_family.items():
        yield family, not all(one["agree"] for one in ones), any(one["student_worse"] for one in ones)
