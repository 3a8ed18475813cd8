"""Where an example is from, and what became of it: back to the request or the generator, forward to every model.

Both are read from the ledger, which outlives the texts: of an example that was erased it still tells which models
learned from it. A version holds what stood in its splits when it was made, and a model that was trained on a version
is taken to have learned from all of it.
"""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from student_train.teachset.example import Example, Source, Split
from student_train.teachset.ledger import Json
from student_train.teachset.store import SetError, TeachingSet
from student_train.teachset.verify import lines

TAUGHT: tuple[Split, ...] = ("train", "dev", "calibration")
"""What shapes a model: what it is trained on, what it is chosen by, and what its confidence is fitted to."""


class Version(Struct, frozen=True):
    """An export. `seq`: its entry in the ledger; what came after it is not in it."""

    name: str
    root: str
    splits: tuple[str, ...]
    seq: int


class Model(Struct, frozen=True):
    """A model that was trained on a version. `sha256`: of its weights, or of whatever file stands for it."""

    name: str
    version: str
    sha256: str
    at: float
    splits: tuple[str, ...] = TAUGHT


class Told(Struct, frozen=True):
    """An entry of the ledger about an example, or about what was made of it (`id` then goes on after its id)."""

    seq: int
    at: float
    kind: str
    id: str
    about: dict[str, Json]


class History(Struct, frozen=True):
    """What the ledger has of some examples, by id."""

    told: dict[str, list[Told]]
    split: dict[str, Told]
    erased: dict[str, Told]
    versions: list[Version]
    models: list[Model]

    def versions_with(self, id_: str, splits: Container[str] | None = None) -> list[Version]:
        """Those that an example is in, or was in when it was there; with `splits`, only if it stood in one of them."""
        put, gone = self.split.get(id_), self.erased.get(id_)
        if put is None:
            return []
        split = str(put.about["split"])
        return [
            one
            for one in self.versions
            if split in one.splits
            and (splits is None or split in splits)
            and put.seq < one.seq
            and (gone is None or one.seq < gone.seq)
        ]

    def models_with(self, id_: str) -> list[Model]:
        """Those that learned from an example."""
        return [
            model
            for model in self.models
            if any(version.name == model.version for version in self.versions_with(id_, model.splits))
        ]


class Lineage(Struct, frozen=True):
    """`source`: None once it is erased. `made_from`: the example it was made from, "" for none; `children`: those made
    from it."""

    id: str
    split: str
    source: Source | None
    made_from: str
    children: tuple[str, ...]
    told: tuple[Told, ...]
    erased: Told | None
    versions: tuple[Version, ...]
    models: tuple[Model, ...]


def history(path: Path, ids: Container[str] = ()) -> History:
    """One pass over the ledger; all versions and models, and what is told of `ids`."""
    found = History({}, {}, {}, [], [])
    for entry in lines(path):
        kind, about, id_ = entry["kind"], entry["about"], entry.get("id")
        told = Told(entry["seq"], entry["at"], kind, id_ or "", about)
        if kind == "version":
            found.versions.append(Version(about["name"], about["root"], tuple(about["splits"]), told.seq))
        elif kind == "model":
            taught = tuple(about.get("splits", TAUGHT))
            found.models.append(Model(about["name"], about["version"], about["sha256"], told.at, taught))
        for gone in entry.get("ids", ()):
            if gone in ids:
                found.erased[gone] = told
        if id_ is not None and (example := id_.partition("/")[0]) in ids:
            found.told.setdefault(example, []).append(told)
            if kind == "split" or (kind == "example" and "split" in about):
                found.split.setdefault(example, told)
                found.erased.pop(example, None)
    return found


def lineage(teaching: TeachingSet, id_: str) -> Lineage:
    """Raises `SetError` if the ledger knows no such example."""
    known = history(teaching.path, {id_})
    if id_ not in known.told:
        raise SetError(f"expected the id of an example of this set, got {id_!r}: exports and `find` have them")
    payload = teaching.get("example", id_)
    example = None if payload is None else msgspec.json.decode(payload, type=Example)
    split = known.split.get(id_)
    return Lineage(
        id=id_,
        split="" if split is None else str(split.about["split"]),
        source=None if example is None else example.source,
        made_from="" if example is None else example.parent,
        children=tuple(one.id for one in teaching.examples() if one.parent == id_),
        told=tuple(known.told[id_]),
        erased=known.erased.get(id_),
        versions=tuple(known.versions_with(id_)),
        models=tuple(known.models_with(id_)),
    )


def register(teaching: TeachingSet, name: str, version: str, sha256: str, splits: Iterable[str] = TAUGHT) -> Model:
    """Note that a model was trained on a version. Noted once, however often it is said."""
    known = history(teaching.path)
    trained_on = next((one for one in known.versions if one.name == version), None)
    if trained_on is None:
        names = ", ".join(one.name for one in known.versions) or "none was exported yet"
        raise SetError(f"version: expected one of this set ({names}), got {version!r}")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise SetError(f"sha256: expected 64 hexadecimal digits, got {sha256!r}")
    learned = tuple(splits)
    for one in known.models:
        if (one.name, one.version, one.sha256, one.splits) == (name, version, sha256, learned):
            return one
    about: dict[str, Any] = {"name": name, "version": version, "root": trained_on.root, "sha256": sha256}
    teaching.note("model", about | {"splits": list(learned)})
    return history(teaching.path).models[-1]
