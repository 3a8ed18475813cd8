"""Both answers are JSON: in which fields do they differ? By default every field counts, exactly.

Neither need be wrong, so neither fails: what comes of it is whether they agree, and where they first do not.
"""

from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from typing import Any, ClassVar

from msgspec import Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Difference, Family, Finding, Request
from router_policies.checks.compare import Rule, Rules, Word, differences
from router_policies.checks.json_valid import speaks
from router_policies.checks.schema import place

_MOST_COUNTED = 20


class Fields(Struct, frozen=True, dict=True):
    """`fields`: what counts as equal, by path; see `compare.Rules`. `default`: for the others."""

    id: ClassVar[str] = "fields"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT
    default: Word = "exact"
    fields: dict[str, Rule] = {}

    @cached_property
    def _rules(self) -> Rules:
        return Rules(self.default, self.fields)

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        return PASS if _structured(answer) else NA

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> bool | Difference:
        if found != (PASS, PASS):  # one of them has no fields: json_valid's business
            return True
        differ = list(islice(differences(student.json.value, teacher.json.value, self._rules), _MOST_COUNTED))
        if not differ:
            return True
        more = len(differ) - 1 if len(differ) < _MOST_COUNTED else "many"
        others = f", and {more} more" if more else ""
        return Difference(place(differ[0].path), f"{differ[0].drift}: differs from the teacher{others}")


def _structured(answer: Answer) -> bool:
    text = answer.text if answer.final is None else answer.final
    return text.lstrip()[:1] in ("{", "[") and speaks(answer) and answer.json.fault is None


def make(given: Mapping[str, Any]) -> Fields:
    return options.read(Fields, given)
