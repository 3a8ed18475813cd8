"""Which teachers are asked, and how: what people write.

    small:                                 # its name in the set: answers, reports and weights say it
      base_url: http://127.0.0.1:8000/v1
      model: qwen                          # the first that the endpoint lists, unless it is said
      api_key_env: SMALL_API_KEY           # the name of a variable; keys are never in files
      price: {input: 0.10, output: 0.40}   # USD per 1M tokens
      system_files: [policy.md]            # sent after the system prompt, to this teacher only

or on the command line, `small=http://127.0.0.1:8000/v1,model=qwen,samples=8`.
"""

import hashlib
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from router_policies.prices import Price

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class TeachersError(ValueError):
    """What is written of teachers is wrong. A line for each problem: where, what was expected, what came."""


class Rates(BaseModel):
    """USD per 1M tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    input: Decimal = Decimal(0)
    output: Decimal = Decimal(0)

    def priced(self) -> Price:
        return Price.per_million(self.input, self.output)

    @field_validator("input", "output")
    @classmethod
    def _exact(cls, value: Decimal) -> Decimal:
        Price.per_million(value, Decimal(0))
        return value


class Teacher(BaseModel):
    """`samples`: per prompt; fewer than four say little of how sure a teacher is. `max_tokens` is sent by the name
    `limit_field`, which some endpoints want otherwise. `top_logprobs`: candidates per token, 0: none are asked for.
    `retries`: after the first try, of what may pass (429, 5xx, no connection, a cut answer). `timeout_s`: of one try,
    from sending to the last byte. `body`: more fields of the request. `system_files`: see the module; the student is
    taught without them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    base_url: Annotated[str, Field(pattern=r"^https?://[^ ]+$")]
    model: str | None = None
    api_key_env: str | None = None
    price: Rates = Rates()
    samples: Annotated[int, Field(ge=1, le=64)] = 4
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: Annotated[int, Field(ge=1)] = 512
    limit_field: Annotated[str, Field(pattern="^max_(completion_)?tokens$")] = "max_tokens"
    top_logprobs: Annotated[int, Field(ge=0, le=256)] = 8
    requests_per_s: Annotated[float | None, Field(gt=0)] = None
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 4
    timeout_s: Annotated[float, Field(gt=0)] = 300.0
    retries: Annotated[int, Field(ge=0, le=20)] = 4
    body: dict[str, Any] = {}
    system_files: tuple[Path, ...] = ()

    def key(self) -> str | None:
        """Raises `TeachersError` if the variable is not set."""
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env)
        if not key:
            raise TeachersError(f"api_key_env: expected the environment to have {self.api_key_env}, it is not set")
        return key

    def addition(self) -> str:
        """What follows the system prompt."""
        return "\n\n".join(path.read_text(encoding="utf-8").strip() for path in self.system_files)

    def about(self) -> dict[str, Any]:
        """For the ledger: how it is asked. No address and no text, but the hash of what follows the system prompt."""
        said = self.model_dump(mode="json", include={"samples", "temperature", "top_p", "max_tokens", "top_logprobs"})
        if self.system_files:
            said["system_sha256"] = hashlib.sha256(self.addition().encode()).hexdigest()
        return said


def read_teachers(path: Path) -> dict[str, Teacher]:
    """Of a YAML file. Paths in it are relative to it."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TeachersError(f"{path}: expected a YAML file of teachers: {error}") from None
    if not isinstance(document, dict) or not document:
        raise TeachersError(f"{path}: expected a mapping of names to teachers, got {type(document).__name__}")
    found = {}
    for name, given in document.items():
        teacher = _teacher(str(name), given, f"{path}: {name}")
        files = tuple(path.parent / file for file in teacher.system_files)
        found[str(name)] = teacher.model_copy(update={"system_files": files})
    _check_files(found)
    return found


def parse_teacher(text: str) -> tuple[str, Teacher]:
    """`NAME=BASE_URL[,field=value ...]`; of the price, `price_input` and `price_output`."""
    name, equals, rest = text.partition("=")
    url, *pairs = rest.split(",")
    if not equals or not all("=" in pair for pair in pairs):
        raise TeachersError(f"--teacher: expected NAME=BASE_URL[,field=value ...], got {text!r}")
    given: dict[str, Any] = {"base_url": url}
    for field, _, value in (pair.partition("=") for pair in pairs):
        if field in ("price_input", "price_output"):
            given.setdefault("price", {})[field.removeprefix("price_")] = value
        else:
            given[field] = [value] if field == "system_files" else value
    teacher = _teacher(name, given, f"--teacher {name}")
    _check_files({name: teacher})
    return name, teacher


def _teacher(name: str, given: object, where: str) -> Teacher:
    if not _NAME.fullmatch(name):
        raise TeachersError(f"{where}: a name is a-z, 0-9, . _ -, at most 63 of them: it is part of the ids of answers")
    try:
        return Teacher.model_validate(given)
    except ValidationError as error:
        lines = (f"{where}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise TeachersError("\n".join(lines)) from None


def _check_files(teachers: dict[str, Teacher]) -> None:
    for name, teacher in teachers.items():
        for file in teacher.system_files:
            if not file.is_file():
                raise TeachersError(f"{name}: system_files: expected a file, {file} is none")
