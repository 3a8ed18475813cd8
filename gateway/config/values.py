"""What values in a config may be: seconds, counts, money, secrets. Their messages never show a secret."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

_HEADER_TEXT = re.compile(r"[\x21-\x7e]+")


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, serialize_by_alias=True)


# Strict: `true` and "50" are no numbers, whatever YAML made of what was written.
Seconds = Annotated[float, Field(strict=True, gt=0, le=86_400)]
Percent = Annotated[float, Field(strict=True, ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]


def _decimal(value: object) -> object:
    return str(value) if isinstance(value, float) else value  # 0.10 in YAML is a float; its repr is what was written


Usd = Annotated[Decimal, BeforeValidator(_decimal), Field(ge=0, le=1_000_000, decimal_places=6)]


def is_header_text(value: str) -> bool:
    """Whether it can stand in a header as a key must: printable ASCII without spaces."""
    return _HEADER_TEXT.fullmatch(value) is not None


def _header_text(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not value:
        raise ValueError("expected printable ASCII characters, got nothing")
    if not is_header_text(value):
        raise ValueError("expected printable ASCII characters without spaces, got others among them (not shown)")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_header_text)]
