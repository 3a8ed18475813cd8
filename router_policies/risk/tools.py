"""What a request's tools can do, as far as their names tell, and how deep the form of an answer is."""

import re
from collections.abc import Iterable

import msgspec

from router_policies.risk.words import listed

_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_READS = listed(
    """get list read search find fetch lookup look query check show view describe count calculate compute estimate
    validate verify preview browse retrieve load ask explain summarize translate convert compare is has"""
)
_ACTS = listed(
    """create add insert update edit modify change set put patch delete remove drop clear send email notify message
    text call reply forward publish post tweet share pay charge transfer refund withdraw deposit wire buy purchase
    order checkout sell trade book reserve schedule reschedule cancel terminate unsubscribe subscribe renew approve
    reject sign submit execute exec run eval shell bash write save upload move rename copy replace deploy release
    restart stop start kill shutdown reboot scale grant revoke invite assign ban block unblock unlock lock reset
    enable disable register enroll open close merge commit push rollback apply install uninstall print dispense
    prescribe issue escalate trigger click type navigate"""
)


def side_effects(names: Iterable[str]) -> frozenset[str]:
    """The tools whose names say that they change something. The first verb counts: `get_order` reads, `order_get`
    orders. A name without a verb of ours (`weather`) is taken to read; a pack can list those that do not."""
    return frozenset(name for name in names if _acts(name))


def _acts(name: str) -> bool:
    for part in _PART.findall(name[:128]):
        word = part.lower()
        if word in _READS:
            return False
        if word in _ACTS:
            return True
    return False


def depth(schema: bytes | None) -> int:
    """How deep objects and lists nest in what a schema describes: 1 for an object of plain members, 0 for no schema.

    Counted in the schema's text along `properties`, `items` and their like; a reference counts nothing.
    """
    if schema is None:
        return 0
    try:
        top = msgspec.json.decode(schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    deepest = 0
    waiting: list[tuple[object, int]] = [(top, 0)]
    while waiting:
        it, level = waiting.pop()
        if isinstance(it, list):
            waiting += [(inner, level) for inner in it]
        elif isinstance(it, dict):
            here = level + any(key in it for key in _NESTS)
            deepest = max(deepest, here)
            for key, value in it.items():
                if key in _NESTS:
                    waiting += [(inner, here) for inner in _inner(key, value)]
                elif isinstance(value, (dict, list)) and key in _SAME_LEVEL:
                    waiting.append((value, level))
    return deepest


_NESTS = ("properties", "items", "additionalProperties", "patternProperties", "prefixItems", "contains")
_MAPS = ("properties", "patternProperties")
_SAME_LEVEL = ("anyOf", "oneOf", "allOf", "if", "then", "else", "not")


def _inner(key: str, value: object) -> list[object]:
    """The schemas of members or items, out of what stands at such a key."""
    if key in _MAPS:
        return list(value.values()) if isinstance(value, dict) else []
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else []
