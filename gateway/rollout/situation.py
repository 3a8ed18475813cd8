"""What a rollout has to know of its route, as the config stands now."""

from dataclasses import dataclass

from gateway.after.sample import Model, evidence_key
from gateway.control.effective import Effective
from gateway.packs import load_packs
from gateway.stores.protocols import Key, Standing
from router_policies.evidence.rules import Key as EvidenceKey
from router_policies.rollout.filed import key_of
from router_policies.rollout.plan import Plan


@dataclass(frozen=True, slots=True)
class Situation:
    """`key`: what evidence is of. `weight`: percent. `sample`: the probability of being mirrored, where it was changed
    live, else None. `version`: of the route, at which all this was read; `revision`: of the whole config."""

    route: str
    plan: Plan
    key: EvidenceKey
    weight: float
    sample: float | None
    version: int
    revision: int


def situation(route: str, standing: Standing, effective: Effective) -> Situation | None:
    """None if the route has no rollout, or is no route. Reads packs: not for the event loop's thread. Raises
    `PackError`."""
    config, named = effective.config, Key("route", route)
    found = config.routes.get(route)
    plan = found.plan() if found is not None else None
    if found is None or plan is None:
        return None
    student, teacher = (
        Model(name, config.upstreams[name].model, config.upstreams[name].revision)
        for name in (found.student, found.teacher)
    )
    change = standing.changes.get(named)
    over = (effective.overlays.get(named, {}).get("shadow") or {}).get("sample") or {}
    return Situation(
        route=route,
        plan=plan,
        key=key_of(evidence_key(student, teacher, load_packs(tuple(found.packs)).key)),
        weight=found.student_percent,
        sample=over.get("default"),
        version=change.draft.version if change is not None else 0,
        revision=standing.revision,
    )
