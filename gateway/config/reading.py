"""A config from a file: `${...}` is filled in, every key is checked, and then what keys say of each other.

`${VAR}` is an environment variable, `${file:PATH}` what a file holds, less the line's end it closes with: what secret
managers mount. Files are read whenever the config is, so that a secret can be changed without a new process.
"""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway import document
from gateway.config.problems import ConfigError, describe, kind_of
from gateway.config.root import Config, is_loopback, split_listen
from gateway.config.routes import RouteConfig
from gateway.packs import load_pack
from router_policies.checks.pack import PackError
from router_policies.routes import Role, valid_name

_REFERENCE = re.compile(r"\$\{(?:file:(?P<file>[^{}]+)|(?P<variable>[A-Za-z_][A-Za-z0-9_]*))\}")
_LONGEST_FILE = 64 * 1024  # characters


def load(path: Path, environ: dict[str, str] | None = None) -> Config:
    """The config in the file at `path`. Raises `ConfigError` with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error
    try:
        content = document.read(text)
    except document.DocumentError as error:
        raise ConfigError(str(path), [str(error)]) from None
    if not isinstance(content, dict):
        raise ConfigError(str(path), [f"expected a mapping of keys, got {kind_of(content)}"])
    return parse(content, str(path), environ).written_in(path)


def parse(content: dict[str, Any], source: str, environ: dict[str, str] | None = None) -> Config:
    """The config in a document already read from YAML or JSON."""
    problems: list[str] = []
    try:
        expanded = _expand(content, dict(os.environ) if environ is None else environ, "", problems)
    except RecursionError:
        raise ConfigError(source, ["nested too deeply to be read, or an alias holds itself"]) from None
    if problems:
        raise ConfigError(source, problems)
    try:
        config = Config.model_validate(expanded)
    except ValidationError as error:
        raise ConfigError(source, [describe(detail) for detail in error.errors()]) from None
    problems = _cross_check(config)
    if problems:
        raise ConfigError(source, problems)
    return config.written_as(content)


def is_reference(value: object) -> bool:
    """Whether it stands for a secret that is kept elsewhere, and is none itself."""
    return isinstance(value, str) and _REFERENCE.fullmatch(value) is not None


def _expand(value: Any, environ: dict[str, str], path: str, problems: list[str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, environ, f"{path}.{key}".lstrip("."), problems) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, environ, f"{path}.{index}".lstrip("."), problems) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        name = match["variable"]
        if name is None:
            return _read_secret(match["file"], path, problems)
        if name not in environ:
            problems.append(f"{path}: the environment variable {name} is not set")
            return ""
        return environ[name]

    return _REFERENCE.sub(substitute, value)


def _read_secret(file: str, path: str, problems: list[str]) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read(_LONGEST_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        problems.append(
            f"{path}: the file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        )
        return ""
    if len(text) > _LONGEST_FILE:
        problems.append(f"{path}: the file {file}: expected at most {_LONGEST_FILE} characters, got more")
        return ""
    return text.removesuffix("\n").removesuffix("\r")


def _cross_check(config: Config) -> list[str]:
    problems = []
    for name in [*config.upstreams, *config.routes]:
        if not valid_name(name):
            problems.append(f"{name}: expected a name of letters, digits and . _ : / -, at most 128, got {name!r}")
    known = ", ".join(config.upstreams)
    for name, route in config.routes.items():
        for role in ("teacher", "student"):
            if getattr(route, role) not in config.upstreams:
                problems.append(f"routes.{name}.{role}: expected one of {known}, got {getattr(route, role)!r}")
        for index, entry in enumerate(route.fallback.order):
            if entry not in ("teacher", "student") and entry not in config.upstreams:
                path = f"routes.{name}.fallback.order.{index}"
                problems.append(f"{path}: expected teacher, student or one of {known}, got {entry!r}")
        risk_problems = [f"routes.{name}.{problem}" for problem in route.read_risk()]
        problems += risk_problems
        problems += [f"routes.{name}.shadow.{problem}" for problem in _opinion_problems(config, route)]
        checks: list[str] = []
        for index, pack in enumerate(route.packs):
            try:
                checks += [entry.name for entry in load_pack(pack).entries]
            except PackError as error:
                problems += [f"routes.{name}.packs.{index}: {line}" for line in str(error).splitlines()]
        if not risk_problems:  # the strata are the bands of its rules
            problems += [f"routes.{name}.rollout{problem}" for problem in _rollout_problems(route, checks)]
    for field in ("name", "key"):
        seen: set[str | bytes] = set()
        for index, key in enumerate(config.keys):
            value = key.name if field == "name" else key.digest
            if value in seen:
                problems.append(f"keys.{index}.{field}: the same as an earlier key's")
            seen.add(value)
    host, _ = split_listen(config.listen)
    if config.open and not is_loopback(host):
        problems.append(f"keys: none are set, so listen must be a loopback address, got {config.listen!r}")
    if config.keys and not any(key.role == "admin" for key in config.keys):
        problems.append("keys: expected at least one with role: admin, or nobody can change a route")
    return problems


def _opinion_problems(config: Config, route: RouteConfig) -> list[str]:
    """A model has no say about its own answers: not under another upstream's name either."""
    problems = []
    opinions = route.shadow.opinions() if route.shadow is not None else {}
    for key, one in opinions.items():
        asked = config.upstreams.get(one.upstream)
        if asked is None:
            known = ", ".join(name for name in config.upstreams if name not in (route.student, route.teacher))
            problems.append(f"{key}.upstream: expected one of {known or 'another upstream'}, got {one.upstream!r}")
            continue
        for role in (Role.STUDENT, Role.TEACHER):
            name = route.student if role is Role.STUDENT else route.teacher
            judged = config.upstreams.get(name)
            if one.upstream == name:
                problems.append(f"{key}.upstream: expected a third model, got {name!r}, the route's {role}")
            elif judged is not None and asked.is_same_model(judged):
                same = f"which is {asked.model!r} on the same server as {name!r}, the route's {role}"
                problems.append(f"{key}.upstream: expected a third model, got {one.upstream!r}, {same}")
    if route.shadow is not None and route.shadow.judge is not None and (problem := route.shadow.judge.read_rubric()):
        problems.append(f"judge.rubric: {problem}")
    return problems


def _rollout_problems(route: RouteConfig, checks: list[str]) -> list[str]:
    if route.rollout is None:
        return []
    if route.shadow is None:
        return [": expected a shadow block beside it: all that it knows of the student is from mirrored requests"]
    return [f".{problem}" for problem in route.rollout.problems(checks, route.strata(), route.shadow.timeout_s)]
