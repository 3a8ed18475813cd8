"""A version of a set: files that a trainer reads, a card for people, a description for machines.

A version is what a set held at one entry of its ledger: the entry has the Merkle root over all records, and a hash of
each file. As long as nothing changes, exporting again makes the same version, byte for byte; once anything has, it
makes the next. Files say nothing of who anybody is: no pseudonym, no session, no id of a request. The holdout is in
none.

A set that was not scanned for personal data since something was added, or failed that scan, is not exported.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from student_train.teachset import residual
from student_train.teachset.card import About, File, Seen, digest, facts, markdown
from student_train.teachset.croissant import COLUMNS, croissant
from student_train.teachset.example import Example, Lesson, Split, Target
from student_train.teachset.ledger import Json
from student_train.teachset.lineage import Version, history
from student_train.teachset.store import SetError, TeachingSet
from student_train.teachset.verify import lines, root

EXPORTED: tuple[Split, ...] = ("train", "dev", "calibration", "gold")
_ROWS = 1000  # of a Parquet row group
_SCHEMA = pa.schema([(column, pa.string()) for column in COLUMNS])


class Line(Struct, frozen=True, omit_defaults=True):
    """Of a JSON lines file: what a trainer reads, and what people look for."""

    id: str
    split: str
    messages: tuple[dict[str, Any], ...]
    targets: tuple[Target, ...]
    source: str
    origin: str
    tools: tuple[dict[str, Any], ...] = ()
    response_format: dict[str, Any] | None = None
    teachers: dict[str, float] = {}
    gold: str | None = None
    skill: str = ""
    family: str = ""
    kind: str = "plain"


class Exported(Struct, frozen=True):
    """`new`: whether a version was made, or the last one once more. `untaught`: examples of these splits that have no
    answer to be taught, and are not in it."""

    version: Version
    folder: Path
    files: tuple[File, ...]
    untaught: int
    new: bool


def export(
    teaching: TeachingSet,
    name: str | None = None,
    about: About | None = None,
    splits: tuple[Split, ...] = EXPORTED,
    show: Callable[[int], None] = lambda count: None,
) -> Exported:
    """Into SET/exports/NAME, all of it or nothing. `show` is told how many examples were written."""
    if wrong := [split for split in splits if split not in EXPORTED]:
        raise SetError(f"splits: expected some of {', '.join(EXPORTED)}, got {', '.join(wrong)}: it is never exported")
    residual.permit(teaching)
    about = about or About()
    now, records = root(teaching.path)
    told: dict[str, Json] = {"root": now, "splits": list(splits), "about": sha256(digest(about)).hexdigest()}
    name, before = _named(teaching, name, told)
    making = teaching.path / "exports" / f".{name}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True, mode=0o700)
    seen, files, untaught, count = Seen(), [], 0, 0
    for split in splits:
        with _Writer(making, split) as writer:
            for line, example in _lines(teaching, split):
                if line is None:
                    untaught += 1
                    continue
                seen.add(example)
                writer.write(line)
                show(count := count + 1)
        files += [file for file in writer.files if file.rows]
    if not count:
        raise SetError("expected something to export: no example of these splits has an answer that is taught")
    hashes: dict[str, Json] = {
        file.name: {"sha256": file.sha256, "bytes": file.bytes, "rows": file.rows} for file in files
    }
    if before is None:
        teaching.note("version", {"name": name, "records": records, **told, "files": hashes})
    elif before["files"] != hashes:
        raise SetError(
            f"version {name}: the files made now are not those that the ledger has hashes of, though nothing in the "
            "set has changed: another version of pyarrow? `export --name` makes a new version"
        )
    not_exported = {split: n for split in ("holdout", "left_out") if (n := teaching.sizes().get(f"split:{split}", 0))}
    of = facts(teaching.path, name, files, seen, untaught, not_exported)
    (making / "card.md").write_text(markdown(of, about), encoding="utf-8")
    (making / "croissant.json").write_text(croissant(of, about), encoding="utf-8")
    folder = teaching.path / "exports" / name
    shutil.rmtree(folder, ignore_errors=True)
    making.rename(folder)
    version = next(one for one in history(teaching.path).versions if one.name == name)
    return Exported(version, folder, tuple(files), untaught, before is None)


def _named(teaching: TeachingSet, name: str | None, told: dict[str, Json]) -> tuple[str, dict[str, Any] | None]:
    """The name, and what the ledger has of that version, if it is the last one once more."""
    versions = [entry["about"] for entry in lines(teaching.path) if entry["kind"] == "version"]
    last = versions[-1] if versions else {}
    same = all(last.get(key) == value for key, value in told.items())
    if name is None:
        name = last["name"] if same else f"v{len(versions) + 1}"
    if name != os.path.basename(name) or name.startswith(".") or not name.isprintable():
        raise SetError(f"name: expected one that can be a folder's, got {name!r}")
    if same and name == last["name"]:
        return name, last
    if any(one["name"] == name for one in versions):
        raise SetError(f"version {name}: the set, or what is said about it, has changed since: choose another name")
    return name, None


def _lines(teaching: TeachingSet, split: Split) -> Iterator[tuple[Line | None, Example]]:
    """None for what has nothing to be taught. Gold is taught where no lesson says otherwise."""
    for example in teaching.examples(split):
        payload = teaching.get("lesson", example.id)
        lesson = Lesson(example.id, ()) if payload is None else msgspec.json.decode(payload, type=Lesson)
        targets = lesson.targets or (() if example.gold is None else (Target(example.gold, 1.0),))
        line = Line(
            id=example.id,
            split=split,
            messages=example.messages,
            targets=targets,
            source=example.source.kind,
            origin=example.source.origin,
            tools=example.tools,
            response_format=example.response_format,
            teachers=lesson.teachers,
            gold=example.gold,
            skill=example.skill,
            family=example.family,
            kind=example.kind,
        )
        yield (line if targets else None), example


class _Writer:
    """Both files of a split, a thousand examples in memory. Mutable state: those, and what was written."""

    def __init__(self, folder: Path, split: str) -> None:
        self._paths = [folder / f"{split}.jsonl", folder / f"{split}.parquet"]
        self._split = split
        self._jsonl = self._paths[0].open("wb")
        self._parquet = pq.ParquetWriter(self._paths[1], _SCHEMA, compression="zstd")
        self._waiting: list[dict[str, str]] = []
        self._rows = 0
        self.files: list[File] = []

    def __enter__(self) -> "_Writer":
        return self

    def write(self, line: Line) -> None:
        self._jsonl.write(msgspec.json.encode(line) + b"\n")
        self._waiting.append({column: _text(getattr(line, column)) for column in COLUMNS})
        self._rows += 1
        if len(self._waiting) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._parquet.write_table(pa.Table.from_pylist(self._waiting, schema=_SCHEMA))
            self._waiting = []

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._jsonl.close()
        self._parquet.close()
        for path in self._paths:
            if not self._rows:
                path.unlink()
                continue
            hashed = sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    hashed.update(block)
                os.fsync(file.fileno())
            self.files.append(File(path.name, self._split, hashed.hexdigest(), path.stat().st_size, self._rows))


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode() if value else ""
