"""Did the answer end by itself? One that was cut by the limit of tokens, or whose stream broke off, did not.

An answer that the client's own `max_tokens` cut is less of a failure: it may have been asked for.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct

from router_policies.checks import options
from router_policies.checks.check import (
    NA,
    PASS,
    UNFINISHED,
    Answer,
    Difference,
    Family,
    Finding,
    Outcome,
    Request,
    Severity,
)

_WHOLE = "stop"
_SAME = {"tool_calls": _WHOLE, "function_call": _WHOLE, "eos": _WHOLE, "end_turn": _WHOLE, "tool_use": _WHOLE}


class Finish(Struct, frozen=True):
    id: ClassVar[str] = "finish"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        match answer.finish_reason:
            case None | "content_filter":  # not known; what a filter takes is the policy checks' business
                return NA
            case "length":
                limited = request.max_tokens is not None
                told = f"length: by the client's max_tokens of {request.max_tokens}" if limited else "length"
                return Finding(Outcome.FAIL, Severity.LOW if limited else Severity.MEDIUM, "", told)
            case "tool_calls" | "function_call" if not answer.calls:
                return Finding(Outcome.FAIL, Severity.HIGH, "", "no_calls: it says that it ends with tool calls")
            case finish if finish == UNFINISHED:
                return Finding(Outcome.FAIL, Severity.HIGH, "", "unfinished: the answer broke off")
        return PASS

    def agree(
        self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]
    ) -> bool | Difference:
        """Ends with calls of tools and ends without are one: engines disagree on the word."""
        if student.finish_reason is None or teacher.finish_reason is None:
            return True
        ours = _SAME.get(student.finish_reason, student.finish_reason)
        theirs = _SAME.get(teacher.finish_reason, teacher.finish_reason)
        return ours == theirs or Difference("", f"finish_reason: {ours[:20]}, the teacher's is {theirs[:20]}")


def make(given: Mapping[str, Any]) -> Finish:
    return options.read(Finish, given)
