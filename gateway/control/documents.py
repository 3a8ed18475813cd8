"""The arithmetic of live documents: pure functions of JSON-like values.

The *ground* is a document as the config file writes it, the *overlay* what was changed live. Laid over the ground,
mappings are merged key by key, and any other value replaces what is there, null and lists too; `{"deleted": true}`
takes a key out, and, as the whole overlay, the document. So an overlay can turn any document into any other, holds no
more than the difference, and what it does not mention follows the file when that changes.

People send merge patches (RFC 7396), which are merged *into the overlay*: null there takes a key back to the file's
value.

What is taken back by itself is kept as a mapping from leaves, named by JSON Pointers (RFC 6901), to `[value]` or, where
nothing was, `[]`. A merge patch would not do: it cannot put a null back.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from gateway.config import is_reference
from gateway.stores.protocols import Document, Key, Undo

Path = tuple[str, ...]
DELETED: Document = {"deleted": True}
MASK = "**********"
SET = "set"  # a digest, shown
SECRETS = {("upstream", ("api_key",)), ("key", ("key",)), ("route", ("capture", "encrypt_key"))}
_ABSENT = object()
_PLACES = {"route": "routes", "upstream": "upstreams"}


def is_deleted(value: object) -> bool:
    return isinstance(value, dict) and len(value) == 1 and value.get("deleted") is True


def merge(target: Document, patch: Mapping[str, Any]) -> Document:
    """JSON merge patch, RFC 7396 section 2. A mapping from which the last key went is not kept."""
    result = dict(target)
    for key, value in patch.items():
        if isinstance(value, dict):
            below = result.get(key)
            value = merge(below if isinstance(below, dict) and not is_deleted(below) else {}, value) or None
        if value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def lay(ground: Document | None, overlay: Document) -> Document | None:
    """The document with its overlay; None if there is none, or no more. `ground` is None for one not in the file."""
    if ground is None and not overlay:
        return None
    laid = _lay({} if ground is None else ground, overlay)
    return None if laid is _ABSENT else laid


def _lay(ground: Any, over: Any) -> Any:
    if is_deleted(over):
        return _ABSENT
    if not isinstance(over, dict):
        return over
    base = ground if isinstance(ground, dict) else {}
    result = dict(base)
    for key, value in over.items():
        laid = _lay(base.get(key, _ABSENT), value)
        if laid is _ABSENT:
            result.pop(key, None)
        else:
            result[key] = laid
    return _ABSENT if base and not result else result


def exact(ground: Document | None, wanted: Document, defaults: Document) -> Document:
    """The overlay with which the document becomes `wanted` and nothing else; what `wanted` does not mention is taken
    out. What it spells out though the file says nothing, and `defaults` the same, is left out."""
    base = {} if ground is None else ground
    overlay: Document = {}
    for key in [*wanted, *(key for key in base if key not in wanted)]:
        old: Any = base.get(key, _ABSENT)
        new: Any = wanted.get(key, _ABSENT)
        usual: Any = defaults.get(key, _ABSENT)
        if isinstance(old, dict) and (new is _ABSENT or isinstance(new, dict)):
            below = exact(old, new if isinstance(new, dict) else {}, usual if isinstance(usual, dict) else {})
            if below:
                overlay[key] = below
        elif new is _ABSENT:
            overlay[key] = dict(DELETED)
        elif isinstance(new, dict) and old is _ABSENT and isinstance(usual, dict):
            below = exact({}, new, usual)
            if below:
                overlay[key] = below
        elif not same(new, usual if old is _ABSENT else old):
            overlay[key] = new
    return overlay


def same(left: object, right: object) -> bool:
    """Equal as JSON: 1 is 1.0, and neither is true."""
    return left == right and isinstance(left, bool) is isinstance(right, bool)


def leaves(document: Mapping[str, Any], above: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is no mapping, or an empty one, with the keys that lead to it."""
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def diff(before: Document | None, after: Document | None) -> list[tuple[Path, Any, Any]]:
    """Each leaf that is another: where, what it was, what it is; None for nothing."""
    old, new = dict(leaves(before or {})), dict(leaves(after or {}))
    paths = [*old, *(path for path in new if path not in old)]
    return [
        (path, old.get(path), new.get(path))
        for path in paths
        if (path in old) is not (path in new) or not same(old.get(path), new.get(path))
    ]


def pointer(path: Path) -> str:
    """RFC 6901 section 3."""
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def path_of(pointer: str) -> Path:
    return tuple(key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:])


def inverse(before: Document, after: Document) -> Document:
    """What takes `after` back to `before`."""
    old, new = dict(leaves(before)), dict(leaves(after))
    back: Document = {pointer(path): [] for path in new if path not in old}
    for path, value in old.items():
        if path not in new or not same(new[path], value):
            back[pointer(path)] = [value]
    return back


def undone(overlay: Document, back: Mapping[str, list[Any]]) -> Document:
    """The overlay with the leaves of an inverse put back."""
    found = dict(leaves(overlay))
    put = {path_of(where): value for where, value in back.items()}
    kept = {path: value for path, value in found.items() if not any(overlap(path, other) for other in put)}
    return _grown({**kept, **{path: value[0] for path, value in put.items() if value}})


def _grown(found: Mapping[Path, Any]) -> Document:
    document: Document = {}
    for path, value in found.items():
        at = document
        for key in path[:-1]:
            below = at.setdefault(key, {})
            if not isinstance(below, dict):  # a leaf with leaves below it: the deeper one was set last
                below = at[key] = {}
            at = below
        at[path[-1]] = value
    return document


def overlap(one: Path, other: Path) -> bool:
    """Whether one of them is the other, or above it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def schedule(
    pending: Iterable[Undo],
    before: Document,
    after: Document,
    touched: Collection[Path],
    until: float | None,
    version: int,
) -> tuple[Undo, ...]:
    """What is still to be taken back after the change of an overlay in the leaves `touched`, which is `version`.

    A change that stands (`until` is None) ends what was planned for its leaves: an explicit later decision holds. One
    that ends at `until` takes the place of what would have been taken back by then, and afterwards leaves what there
    would have been without it; what is planned for later stays planned.
    """
    ordered = sorted(pending, key=lambda undo: undo.at)
    kept = []
    without = before  # as it would be at `until` if this change were not made
    for undo in ordered:
        if until is not None and undo.at > until:
            kept.append(undo)
            continue
        if until is not None:
            without = undone(without, undo.patch)
        left = {
            where: value
            for where, value in undo.patch.items()
            if not any(overlap(path_of(where), path) for path in touched)
        }
        if left:
            kept.append(Undo(undo.at, left, undo.version))
    if until is not None:
        back = {
            where: value
            for where, value in inverse(without, after).items()
            if any(overlap(path_of(where), path) for path in touched)
        }
        if back:
            kept.append(Undo(until, back, version))
    return tuple(kept)


def raw(content: Mapping[str, Any], key: Key) -> Document | None:
    """A document as the content of a config has it; of a key without its name, by which it is found."""
    if key.kind == "gateway":
        return {"force": content["force"]} if "force" in content else {}
    if key.kind == "key":
        found = next((item for item in content.get("keys") or () if item.get("name") == key.name), None)
        return None if found is None else {name: value for name, value in found.items() if name != "name"}
    document: Document | None = (content.get(_PLACES[key.kind]) or {}).get(key.name)
    return document


def lay_all(ground: Mapping[str, Any], overlays: Mapping[Key, Document]) -> Document:
    """The whole content of a config with everything that lies over it. The same on every replica, in order too."""
    content = {**ground, **{place: dict(ground.get(place) or {}) for place in _PLACES.values()}}
    content["keys"] = list(ground.get("keys") or ())
    for key in sorted(overlays, key=lambda key: (key.kind, key.name)):
        put(content, key, lay(raw(content, key), overlays[key]))
    return content


def put(content: Document, key: Key, document: Document | None) -> None:
    """Have a document in the content of a config, or have it no more. Changes what `lay_all` made, in place."""
    if key.kind == "gateway":
        content["force"] = (document or {}).get("force")
    elif key.kind == "key":
        at = key_index(content, key.name)
        content["keys"][at : at + 1] = [] if document is None else [{**document, "name": key.name}]
    elif document is None:
        content[_PLACES[key.kind]].pop(key.name, None)
    else:
        content[_PLACES[key.kind]][key.name] = document


def key_index(content: Mapping[str, Any], name: str) -> int:
    """Where in the list of keys one is, or would be."""
    names = [item.get("name") for item in content["keys"]]
    return names.index(name) if name in names else len(names)


def prefix(content: Mapping[str, Any], key: Key) -> str:
    """With which problems of a document begin, in those of the whole config."""
    if key.kind == "gateway":
        return ""
    return f"keys.{key_index(content, key.name)}" if key.kind == "key" else f"{_PLACES[key.kind]}.{key.name}"


def masked(kind: str, path: Path, value: Any) -> Any:
    """A leaf as it may be shown: no secret, and none's digest."""
    if value is None or isinstance(value, dict):
        return value
    if kind == "key" and path == ("key_sha256",):
        return SET
    if (kind, path) in SECRETS:
        return value if is_reference(value) else MASK
    return value


def hidden(kind: str, document: Document, above: Path = ()) -> Document:
    """A document as it may be shown."""
    return {
        name: hidden(kind, value, (*above, name)) if isinstance(value, dict) else masked(kind, (*above, name), value)
        for name, value in document.items()
    }


def unmasked(kind: str, wanted: Document, whole: Document) -> Document:
    """What somebody sends back of a document that was shown: what was hidden stays what it is."""
    return _unmasked(wanted, whole, hidden(kind, whole))


def _unmasked(wanted: Document, whole: Document, masks: Document) -> Document:
    found: Document = {}
    for name, value in wanted.items():
        there: Any = whole.get(name)
        if isinstance(value, dict) and isinstance(there, dict):
            found[name] = _unmasked(value, there, masks[name])
        else:
            found[name] = there if value in (MASK, SET) and masks.get(name) == value else value
    return found
