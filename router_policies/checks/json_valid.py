"""JSON was asked for: is the answer JSON, and nothing else?

Strict: NaN and Infinity, a name that is there twice, a Markdown fence, text before or after are failures. Nothing is
repaired: the application that reads the answer will not repair it either, or not in the same way.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome
from router_policies.checks.schema import place
from router_policies.checks.strict_json import Fault


class JsonValid(Struct, frozen=True):
    """`always`: the answer is to be JSON whether or not the request says so."""

    id: ClassVar[str] = "json_valid"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT
    always: bool = False

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if not (self.always or request.asked.json) or not speaks(answer):
            return NA
        parsed = answer.json
        if parsed.fault is None:
            return PASS
        if parsed.fault is Fault.UNREAD:
            return Finding(Outcome.NA, evidence="unread: it is too long or nested too deeply")
        where = place((parsed.place,)) if parsed.fault is Fault.DUPLICATE else parsed.place
        return Finding(Outcome.FAIL, Severity.HIGH, "", f"{parsed.fault}: {where}" if where else parsed.fault)

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)


def speaks(answer: Answer) -> bool:
    """Whether the text is what answers: no refusal, no call of a tool, not taken away by a filter."""
    return not answer.calls and answer.refusal is None and answer.finish_reason != "content_filter"


def make(given: Mapping[str, Any]) -> JsonValid:
    return options.read(JsonValid, given)
