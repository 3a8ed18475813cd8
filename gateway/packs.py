"""Finds and reads packs, of checks and of risk rules: those that come along by their name, others by the path of their
file."""

import os
from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from gateway import document
from router_policies.checks.pack import Pack, PackError, joined, read_pack
from router_policies.risk.rules import RiskPack, read_risk_pack

_SHIPPED = files("router_policies") / "packs"
_SHIPPED_RISK = files("router_policies") / "risk" / "packs"
_Read = TypeVar("_Read")


def shipped() -> list[str]:
    """The names of the packs of checks that come along."""
    return _names(_SHIPPED)


def load_pack(named: str) -> Pack:
    """The pack of checks of that name, or in that file. Raises `PackError`: a line for each problem, with the file's
    name."""
    return _read(named, _text(named, _SHIPPED), read_pack)


def risk_pack_text(named: str) -> str:
    """What the pack of risk rules of that name, or in that file, says. Raises `PackError`."""
    return _text(named, _SHIPPED_RISK)


@lru_cache(maxsize=16)  # every change of any document reads the whole config again
def read_risk_pack_text(named: str, text: str) -> RiskPack:
    """The pack in a text. Raises `PackError` as `load_pack` does."""
    return _read(named, text, read_risk_pack)


def _names(folder: Traversable) -> list[str]:
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _text(named: str, folder: Traversable) -> str:
    names = _names(folder)
    source = folder / f"{named}.yaml" if named in names else Path(named)
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise PackError(f"{named}: expected {', '.join(names)} or a file of YAML; {reason}") from None


def _read(named: str, text: str, read: Callable[[object], _Read]) -> _Read:
    try:
        return read(document.read(text))
    except (document.DocumentError, PackError) as error:
        raise PackError("\n".join(f"{named}: {line}" for line in str(error).splitlines())) from None


def load_packs(named: tuple[str, ...]) -> Pack:
    """All of them as one, as their files are now. Raises `PackError`."""
    return _joined(named, tuple(map(_changed_at, named)))


@lru_cache(maxsize=64)
def _joined(named: tuple[str, ...], changed_at: tuple[int, ...]) -> Pack:
    return joined([load_pack(name) for name in named])


def _changed_at(name: str) -> int:
    try:
        return os.stat(name).st_mtime_ns
    except OSError:  # one that comes along, or one that is no more
        return 0
