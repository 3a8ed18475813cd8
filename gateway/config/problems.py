"""What is said about a config that cannot be used.

A line per problem, all at once: the key's path, what was expected, what came. What is or may be a secret is never
shown: nothing under `keys`, no `api_key` or `encrypt_key`, no `base_url` with anything in it but an address.
"""

from pydantic_core import ErrorDetails

_LONGEST_SHOWN = 128  # characters
_KINDS = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


class ConfigError(Exception):
    """A config that cannot be used. `problems` has one line for each thing that is wrong."""

    def __init__(self, source: str, problems: list[str]) -> None:
        super().__init__(f"{source}:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


def describe(detail: ErrorDetails) -> str:
    """One validation error as a line: path, what was expected, what came (never a secret)."""
    path = ".".join(str(part) for part in detail["loc"])
    kind = detail["type"]
    if kind == "missing":
        return f"{path}: required, and not there"
    if kind == "extra_forbidden":
        return f"{path}: not a key that exists here (see examples/gateway.yaml)"
    if kind == "value_error":  # a validator of ours, which says what came
        return f"{path}: {detail['msg'].removeprefix('Value error, ')}"
    message = detail["msg"]
    if not message[1:2].isupper():
        message = message[:1].lower() + message[1:]
    return f"{path}: {message}, got {_came(detail)}"


def cut(text: str) -> str:
    """Text from elsewhere as a message shows it, no longer than a person reads."""
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _came(detail: ErrorDetails) -> str:
    path, value = detail["loc"], detail["input"]
    secret = path[:1] == ("keys",) or not {"api_key", "base_url", "base_urls", "encrypt_key"}.isdisjoint(path)
    if secret or not isinstance(value, str | int | float | None):
        return kind_of(value)
    return cut(repr(value))


def kind_of(value: object) -> str:
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)
