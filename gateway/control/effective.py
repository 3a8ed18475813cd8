"""What a config file and the live documents over it come to. Pure, save that secrets are read where they are kept.

Every accepted change left the whole valid, for the replica that accepted it. Another one may have another file, or lack
a secret; and a file may have changed since. Then all that can be served as it was changed is: only a document that
cannot be is left as it last could, or as the file has it. Its kill switch holds in any case.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, SecretStr

from gateway.config import Config, ConfigError, KeyConfig, RouteConfig, UpstreamConfig, parse
from gateway.control.documents import MASK, hidden, lay, lay_all, prefix, raw
from gateway.stores.protocols import Document, Key, Standing

_MODELS: dict[str, type[BaseModel]] = {"route": RouteConfig, "upstream": UpstreamConfig, "key": KeyConfig}


@dataclass(frozen=True, slots=True)
class Effective:
    """`overlays` are those that are live, `problems` why others are not. `versions` are the routes' that are live."""

    config: Config
    overlays: Mapping[Key, Document]
    versions: Mapping[str, int]
    revision: int
    problems: tuple[str, ...]


def overlays_of(standing: Standing) -> dict[Key, Document]:
    return {key: change.draft.document for key, change in standing.changes.items()}


def build(
    ground: Config, standing: Standing, overlays: Mapping[Key, Document], good: Mapping[Key, tuple[int, Document]]
) -> Effective:
    """The config with these overlays over it. `good` are versions of documents that were live before, and their
    overlays. Raises `ConfigError` if not even the ground is valid any more."""
    live = dict(overlays)
    versions = {key: change.draft.version for key, change in standing.changes.items()}
    lesser = {key: _lesser(key, overlay, good.get(key)) for key, overlay in live.items()}
    problems: list[str] = []
    while True:
        content = lay_all(ground.content, live)
        try:
            config = parse(content, "the live config")
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            if not live:
                raise
            for key in _at_fault(content, live, error.problems):
                versions[key], live[key] = next(lesser[key], (0, {}))
                if not live[key]:
                    del live[key]
        else:
            routes = {key.name: version for key, version in versions.items() if key.kind == "route"}
            return Effective(config, live, routes, standing.revision, tuple(problems))


def only_killed(
    ground: Config, last: Effective, revision: int, overlays: Mapping[Key, Document], why: Sequence[str]
) -> Effective:
    """What was effective last, with the kill switches of these overlays, and a student's share where they lower it: for
    when nothing more can be had. That a secret cannot be read keeps nobody from the teacher."""
    routes = {}
    for name, route in last.config.routes.items():
        written = ground.routes[name].force if name in ground.routes else None
        overlay = overlays.get(Key("route", name), {})
        percent = min(route.student_percent, overlay.get("student_percent", route.student_percent))
        routes[name] = route.model_copy(update={"force": overlay.get("force", written), "student_percent": percent})
    force = overlays.get(Key("gateway", ""), {}).get("force", ground.force)
    config = last.config.model_copy(update={"routes": routes, "force": force})
    return replace(last, config=config, revision=revision, problems=tuple(why))


def _at_fault(content: Document, live: Mapping[Key, Document], problems: list[str]) -> list[Key]:
    """Whose overlays to do without: those in which the problems are, else those that others depend on, else all."""
    found = [key for key in live if key.kind != "gateway" and any(belongs(content, key, text) for text in problems)]
    return found or [key for key in live if key.kind in ("upstream", "key")] or list(live)


def _lesser(key: Key, overlay: Document, good: tuple[int, Document] | None) -> Iterator[tuple[int, Document]]:
    """What to lay over the ground instead, by version, best first."""
    if good is not None and good[1] != overlay:
        yield good
    if key.kind == "route" and "force" in overlay and len(overlay) > 1:
        yield 0, {"force": overlay["force"]}


def belongs(content: Document, key: Key, problem: str) -> bool:
    """Whether a problem of the whole config is in this document."""
    path = prefix(content, key)
    return problem.startswith((f"{path}.", f"{path}: ", f"{key.name}: ")) if path else problem.startswith("force: ")


def defaults(config: Config, key: Key) -> Document:
    """Every key of a document with the value that it has, written or not; {} if there is none."""
    model = model_of(config, key)
    return {} if model is None else dict(_plain(model.model_dump(by_alias=True)))


def model_of(config: Config, key: Key) -> BaseModel | None:
    if key.kind == "key":
        return next((item for item in config.keys if item.name == key.name), None)
    if key.kind == "upstream":
        return config.upstreams.get(key.name)
    return config.routes.get(key.name)


def whole(config: Config, key: Key) -> Document | None:
    """The effective document with all of its keys, as it may be compared, not shown: of an upstream or a key what was
    written is there as it was written, of a route its secret."""
    if key.kind == "gateway":
        return {"force": config.force}
    if model_of(config, key) is None:
        return None
    document, written = defaults(config, key), raw(config.content, key) or {}
    if key.kind != "route":
        return lay(document, written)
    if (document["capture"] or {}).get("encrypt_key") is not None:
        document["capture"] = {**document["capture"], "encrypt_key": written["capture"]["encrypt_key"]}
    return document


def shown(key: Key, document: Document | None) -> Document | None:
    """A document without what is secret."""
    return None if document is None else hidden(key.kind, document)


def key_names(kind: str) -> list[str]:
    """What keys a document of this kind may have."""
    model = _MODELS[kind]
    names = [field.alias or name for name, field in model.model_fields.items()]
    return [name for name in names if not (kind == "key" and name == "name")]


def _plain(value: Any) -> Any:
    """As JSON has it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return MASK if isinstance(value, SecretStr) else value
