"""What is done with what is found, as people write it down: rules, in YAML.

    consent: [train]                 # tags that a request must carry, all of them
    drop_tenants: [acme]
    legal_basis: consent
    retention_days: 365
    identifiers: ['#W[0-9]{7}', 'LF-[0-9]{6}']   # the app's own numbers: kept as they are
    public: [support@larkfield.example]          # values that are nobody's secret: kept
    tenants:
      '*':                           # every tenant that is not named
        '*': {'*': mask, national_id: drop}
        tool_results: {ip: keep}
      globex:
        user: {name: drop}

What is not said is masked: without a file everything is. The more exact word counts: a tenant before `*`, in it a field
before `*`, in that a kind before `*`; what a tenant does not say, `*` says. Secrets can be masked or dropped, not kept.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from student_train.teachset import scrub
from student_train.teachset.placeholders import KINDS

Action = scrub.Action
FieldName = Literal["*", "system", "user", "assistant", "tool_arguments", "tool_results", "metadata"]
KindName = Literal[
    "*", "name", "email", "phone", "card", "iban", "national_id", "ip", "address", "birth_date", "user", "secret"
]
ByKind = dict[KindName, Action]
ByField = dict[FieldName, ByKind]
FIELDS = tuple(name for name in get_args(FieldName) if name != "*")


class Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ignored_types=(cached_property,))

    consent: tuple[str, ...] = ("train",)
    drop_tenants: frozenset[str] = frozenset()
    legal_basis: str = "consent"
    retention_days: Annotated[int, Field(ge=1)] | None = 365
    most_chars: Annotated[int, Field(ge=1)] = 200_000
    identifiers: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    tenants: dict[str, ByField] = Field(default_factory=dict)

    @field_validator("identifiers")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                shape = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"expected a regular expression, got {pattern!r}: {error}") from None
            if shape.fullmatch("") or shape.search("someone@example.com") or shape.search("Maria Lopez"):
                raise ValueError(f"expected a pattern of the app's own numbers, but {pattern!r} fits names or nothing")
        return patterns

    @model_validator(mode="after")
    def _no_secret_kept(self) -> "Rules":
        for tenant, fields in self.tenants.items():
            for where, kinds in fields.items():
                if kinds.get("secret") == "keep":
                    raise ValueError(f"tenants.{tenant}.{where}.secret: expected mask or drop, got keep")
        return self

    def action(self, tenant: str, where: scrub.Field, kind: str) -> Action:
        for owner in (tenant, "*"):
            fields = self.tenants.get(owner, {})
            for place in (where, "*"):
                for what in (kind, "*"):
                    said: Action | None = fields.get(place, {}).get(what)  # type: ignore[call-overload]
                    if said is not None:
                        return "mask" if (kind, said) == ("secret", "keep") else said
        return "mask"

    @cached_property
    def keep(self) -> re.Pattern[str] | None:
        """What is never masked: the app's numbers and public values, neither as a part of a longer word."""
        shapes = [f"(?:{pattern})" for pattern in self.identifiers] + [
            f"(?i:{re.escape(value)})" for value in self.public
        ]
        return re.compile(rf"(?<![\w@.+-])(?:{'|'.join(shapes)})(?![\w@])") if shapes else None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what they say, however it was written."""
        said = self.model_dump(mode="json")
        said["drop_tenants"] = sorted(self.drop_tenants)
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def load(path: Path | None) -> Rules:
    """The defaults without a file. Raises `ValueError` with what is wrong and where."""
    if path is None:
        return Rules()
    try:
        return Rules.model_validate(yaml.safe_load(path.read_text()) or {})
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ValueError(f"{path}: expected handling rules in YAML, got: {error}") from None
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'rules'}: {one['msg']}" for one in error.errors())
        raise ValueError(f"{path}: {said}") from None


_KIND_WORDS = {
    "name": "names of people", "email": "e-mail addresses", "phone": "telephone numbers", "card": "card numbers",
    "iban": "account numbers", "national_id": "identity numbers", "ip": "IP addresses", "address": "postal addresses",
    "birth_date": "dates of birth", "user": "login names", "secret": "keys, tokens and passwords",
}  # fmt: skip
_FIELD_WORDS = {
    "system": "system prompts", "user": "messages of users", "assistant": "answers",
    "tool_arguments": "arguments of tools", "tool_results": "results of tools",
    "metadata": "definitions of tools, schemas and names of senders",
}  # fmt: skip


def in_words(rules: Rules) -> Iterator[str]:
    yield f"Rules {rules.digest[:12]}."
    tags = " and ".join(rules.consent)
    yield f"A captured request is used if it carries the consent {tags}." if tags else "No consent is asked for."
    if rules.drop_tenants:
        yield f"Nothing of these tenants is used: {', '.join(sorted(rules.drop_tenants))}."
    days = rules.retention_days
    yield f"Legal basis: {rules.legal_basis}. " + (
        f"Kept for {days} days after the request." if days else "Kept until erased."
    )
    yield f"A request of more than {rules.most_chars:,} characters is not used."
    if rules.identifiers:
        yield f"Kept as they are, being the app's own numbers: {', '.join(rules.identifiers)}."
    if rules.public:
        yield f"Kept as they are, being public: {', '.join(rules.public)}."
    for tenant in dict.fromkeys((*sorted(set(rules.tenants) - {"*"}), "*")):
        yield (
            "Of every other tenant:"
            if tenant == "*" and len(rules.tenants) > 1
            else f"Of tenant {tenant}:"
            if tenant != "*"
            else "Of every tenant:"
        )
        yield from _of(rules, tenant)


def _of(rules: Rules, tenant: str) -> Iterator[str]:
    """Grouped: fields that are handled alike are told of once."""
    alike: dict[tuple[Action, ...], list[str]] = {}
    for where in FIELDS:
        actions = tuple(rules.action(tenant, where, kind) for kind in KINDS)
        alike.setdefault(actions, []).append(_FIELD_WORDS[where])
    for actions, places in alike.items():
        told = []
        for action, words in (
            ("mask", "replaced by a placeholder"),
            ("keep", "kept"),
            ("drop", "a reason to leave the example out"),
        ):
            kinds = [_KIND_WORDS[kind] for kind, its in zip(KINDS, actions, strict=True) if its == action]
            if kinds:
                told.append(f"{'all kinds' if len(kinds) == len(KINDS) else ', '.join(kinds)}: {words}")
        yield f"  in {', '.join(places)}: {'; '.join(told)}"
