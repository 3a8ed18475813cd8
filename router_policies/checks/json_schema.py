"""A JSON schema was given: does the answer fit it? See `schema.py` for how that is found out, and what is left out."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import msgspec
from msgspec import Struct

from router_policies.checks import options, schema
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome
from router_policies.checks.json_valid import speaks
from router_policies.checks.strict_json import Fault


class JsonSchema(Struct, frozen=True, dict=True):
    """`schema`: one that answers must fit whatever the request says; it is trusted, those of requests are not.
    `formats`: whether `format` is asserted, or an annotation as it is in the newer drafts."""

    id: ClassVar[str] = "json_schema"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT
    schema: dict[str, Any] | bool | None = None
    formats: bool = True

    def __post_init__(self) -> None:
        if self._own is not None:
            try:
                schema.misfit(self._own, None, "null", formats=self.formats, trusted=True)
            except schema.UncheckedError as error:
                raise options.OptionsError([("schema", f"cannot be checked: {error}")]) from None

    @cached_property
    def _own(self) -> bytes | None:
        return None if self.schema is None else msgspec.json.encode(self.schema)

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        asked = request.asked.schema if self._own is None else self._own
        if asked is None or not speaks(answer):
            return NA
        parsed = answer.json
        if parsed.fault is Fault.UNREAD:
            return Finding(Outcome.NA, evidence="unread: it is too long or nested too deeply")
        if parsed.fault is not None:
            return Finding(Outcome.FAIL, Severity.HIGH, "", "no_json")
        text = answer.text if answer.final is None else answer.final
        try:
            wrong = schema.misfit(asked, parsed.value, text, formats=self.formats, trusted=self._own is not None)
        except schema.UncheckedError as error:
            return Finding(Outcome.NA, evidence=f"unchecked: {error}")
        if wrong is None:
            return PASS
        return Finding(Outcome.FAIL, Severity.HIGH, wrong.path, f"{wrong.kind}: {wrong.keyword or 'the schema'}")

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)


def make(given: Mapping[str, Any]) -> JsonSchema:
    return options.read(JsonSchema, given)
