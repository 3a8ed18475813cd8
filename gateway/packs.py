"""Finds and reads packs of checks: those that come along by their name, others by the path of their file."""

from importlib.resources import files
from pathlib import Path

from gateway import document
from router_policies.checks.pack import Pack, PackError, read_pack

_SHIPPED = files("router_policies") / "packs"


def shipped() -> list[str]:
    """The names of the packs that come along."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def load_pack(named: str) -> Pack:
    """The pack of that name, or in that file. Raises `PackError`: a line for each problem, with the file's name."""
    names = shipped()
    source = _SHIPPED / f"{named}.yaml" if named in names else Path(named)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise PackError(f"{named}: expected {', '.join(names)} or a file of YAML; {reason}") from None
    try:
        return read_pack(document.read(text))
    except (document.DocumentError, PackError) as error:
        raise PackError("\n".join(f"{named}: {line}" for line in str(error).splitlines())) from None
