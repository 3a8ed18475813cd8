"""Is there an answer at all? Text that shows nothing, with no call of a tool and no refusal, is none."""

import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome

_UNSEEN = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})  # controls, joiners and marks of direction, spaces
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # letters and a Braille cell that show nothing
_LOOKED_AT = 10_000  # characters, from the first that is no space


class Empty(Struct, frozen=True):
    id: ClassVar[str] = "empty"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if answer.calls or answer.refusal is not None or answer.finish_reason == "content_filter":
            return NA
        if all(char in _BLANK or unicodedata.category(char) in _UNSEEN for char in answer.text.lstrip()[:_LOOKED_AT]):
            return Finding(
                Outcome.FAIL,
                Severity.HIGH,
                "",
                "empty" if not answer.text else "unseen: only characters that show nothing",
            )
        return PASS

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)


def make(given: Mapping[str, Any]) -> Empty:
    return options.read(Empty, given)
