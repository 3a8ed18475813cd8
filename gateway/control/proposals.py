"""What stands of a document, and what a change of it would come to: pure, but for secrets that are read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Config, ConfigError, cut, is_reference, parse
from gateway.control.changes import Ask, Seen
from gateway.control.consequences import consequences
from gateway.control.documents import SECRETS, Path, diff, lay_all, leaves, masked, path_of, prefix, raw, schedule
from gateway.control.effective import Effective, belongs, defaults, key_names, only_killed, overlays_of, shown, whole
from gateway.control.refusals import Conflict, InvalidChange, NeedsOverride, NotThere
from gateway.stores.protocols import Document, Draft, Key, Standing, Undo


@dataclass(frozen=True, slots=True)
class Shown:
    """A document as it is live, without secrets; None if it is not in service. `sources` says where each of its keys
    comes from: live, file or default. `problems`: why it is not live as it was changed."""

    key: Key
    version: int
    document: Document | None
    sources: dict[str, str]
    action: str | None
    changed_by: str | None
    reason: str | None
    changed_at: float | None
    undo: tuple[Undo, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Of one leaf, by the keys that lead to it with dots between them; None for nothing."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.path} {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change that could be made: its entry, the document with it, what is another, and what that means."""

    draft: Draft
    document: Document | None
    diff: tuple[Difference, ...]
    consequences: tuple[str, ...]


def show(ground: Config, standing: Standing, effective: Effective, key: Key) -> Shown:
    change = standing.changes.get(key)
    overlay = effective.overlays.get(key, {})
    document = shown(key, whole(effective.config, key))
    written = raw(ground.content, key)
    in_file = () if written is None else ("name", *written)
    live = change is None or overlay == change.draft.document
    return Shown(
        key=key,
        version=change.draft.version if change else 0,
        document=document,
        sources={
            name: "live" if name in overlay else "file" if name in in_file else "default" for name in document or ()
        },
        action=change.draft.action if change else None,
        changed_by=change.draft.actor if change else None,
        reason=change.draft.reason if change else None,
        changed_at=change.draft.changed_at if change else None,
        undo=change.draft.undo if change else (),
        problems=() if live else effective.problems,
    )


def propose(ground: Config, standing: Standing, effective: Effective, ask: Ask, now: float) -> Proposal:
    """Raises `Refusal`."""
    key, change = ask.key, standing.changes.get(ask.key)
    seen = Seen(
        key=key,
        ground=raw(ground.content, key),
        defaults=defaults(ground, key) if key.kind != "gateway" else {"force": ground.force},
        overlay=change.draft.document if change else {},
        whole=whole(effective.config, key),
        version=change.draft.version if change else 0,
        undo=change.draft.undo if change else (),
    )
    _check_condition(ask, seen, change.draft.actor if change else "")
    overlay, touched = ask.edit(seen)
    after = _with(ground, standing, effective, ask, overlay)
    old, new = seen.whole, whole(after, key)
    _check_step(ask, old, new)
    until = None if ask.ttl_s is None else now + ask.ttl_s
    version = seen.version + 1
    undo = tuple(one for one in seen.undo if one != ask.ends)
    if ask.ends is None:
        undo = schedule(undo, seen.overlay, overlay, touched, until, version)
    ending = next((one for one in undo if one.version == version), None)
    return Proposal(
        draft=Draft(key, version, ask.action, overlay, undo, ask.actor, ask.reason, now),
        document=shown(key, new),
        diff=differences(key, old, new),
        consequences=tuple(consequences(key, old, new, ask.actor, ending)),
    )


def differences(key: Key, old: Document | None, new: Document | None) -> tuple[Difference, ...]:
    def hide(path: Path, value: Any) -> Any:
        return masked(key.kind, path, value)

    return tuple(Difference(".".join(path), hide(path, was), hide(path, now)) for path, was, now in diff(old, new))


def undo_paths(undo: Undo) -> list[str]:
    """What is taken back, as differences name it."""
    return [".".join(path_of(where)) for where in undo.patch]


def _check_condition(ask: Ask, seen: Seen, last_actor: str) -> None:
    if not seen.exists and not ask.revives:
        raise NotThere(ask.key, seen.version, last_actor)
    if not ask.condition.holds(seen):
        raise Conflict(ask.key, seen.version, seen.exists)


def _with(ground: Config, standing: Standing, effective: Effective, ask: Ask, overlay: Document) -> Config:
    """The whole config with the change. Other documents count as they are live here."""
    if ask.kills:
        killed = {**overlays_of(standing), ask.key: overlay}
        return only_killed(ground, effective, standing.revision, killed, ()).config
    problems = _not_keys(ask) or _not_sent(ask.key.kind, effective.overlays.get(ask.key, {}), overlay)
    if problems:
        raise InvalidChange(problems, _first(ask.named, problems))
    content = lay_all(ground.content, {**effective.overlays, ask.key: overlay})
    if empty := [place for place in ("routes", "upstreams") if not content[place]]:
        raise InvalidChange([f"{place}: expected one to stay, this is the last" for place in empty])
    try:
        config = parse(content, "the change")
    except ConfigError as error:
        path = prefix(content, ask.key)
        said = [
            problem.removeprefix(f"{path}.").removeprefix(f"{path}: ")
            if belongs(content, ask.key, problem)
            else problem
            for problem in error.problems
        ]
        raise InvalidChange(said, _first(ask.named, said)) from None
    if config.open and not effective.config.open:
        raise InvalidChange(["keys: expected one with role: admin to stay, or the gateway would be open to anyone"])
    return config


def _not_keys(ask: Ask) -> list[str]:
    if ask.key.kind == "gateway":
        return []
    known = key_names(ask.key.kind)
    return [f"{cut(name)}: not a key of its; expected {', '.join(known)}" for name in ask.named if name not in known]


def _not_sent(kind: str, before: Mapping[str, Any], overlay: Document) -> list[str]:
    """Secrets are not sent here, and what refers to one is not put where it could be read."""
    known = dict(leaves(before))
    problems = []
    for path, value in leaves(overlay):
        where = ".".join(path)
        if known.get(path) == value:
            continue
        if (kind, path) in SECRETS:
            if value is not None and not is_reference(value):
                problems.append(
                    f"{where}: expected a reference, ${{NAME}} of the environment or ${{file:PATH}}, since what is "
                    "sent here is kept and shown; got something else (not shown)"
                )
        elif any("${" in text for text in _texts(value)):
            names = ", ".join(sorted(path[-1] for _, path in SECRETS))
            problems.append(f"{where}: expected no ${{...}}, which may stand here only for a secret ({names})")
    return problems


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _first(named: tuple[str, ...], problems: list[str]) -> str | None:
    """The first key of the change that something is wrong with."""
    for problem in problems:
        for name in named:
            if problem.startswith((f"{cut(name)}.", f"{cut(name)}: ", f"{name}.", f"{name}: ")):
                return cut(name)
    return None


def _check_step(ask: Ask, old: Document | None, new: Document | None) -> None:
    if ask.override or ask.key.kind != "route" or old is None or ask.ends is not None:
        return
    if new is None:
        raise NeedsOverride(
            f"{ask.key.name} is being served. Send everything to one side first, or say override: true to take it out "
            "of service at once."
        )
    if ask.action == "replace" and old["force"] is not None and new["force"] is None and "force" not in ask.named:
        raise NeedsOverride(
            f"The kill switch of {ask.key.name} is on, everything goes to the {old['force']}, and this would end it. "
            f"Put force: {old['force']} into the document, end it first, or say override: true."
        )
    rise, most = new["student_percent"] - old["student_percent"], old["max_step"]
    if rise > most:
        raise NeedsOverride(
            f"student_percent: this is a step of {rise:g} points, from {old['student_percent']:g} to "
            f"{new['student_percent']:g}, and max_step is {most:g}. Go there in smaller steps, or say override: true."
        )
