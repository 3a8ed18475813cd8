"""What people are told of a version: facts gathered from the set and its ledger, and the data card made of them.

What is counted is counted here; what only people can know (who made it, what it is fit for, whom it leaves out) they
write in a YAML file. Where they wrote nothing the card says so: an empty heading is a question, not an omission.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml
from msgspec import Struct
from pydantic import BaseModel, ConfigDict, ValidationError

from student_train.teachset.example import Example
from student_train.teachset.store import SetError
from student_train.teachset.verify import lines

UNSAID = "Nobody has said."
STAND_IN = (
    "**No example here is a real trace.** All were made up, and stand in for what users write: results on them say how "
    "the tools work, not how a model does for users."
)


class About(BaseModel):
    """What people say of a set. Each is a sentence or several, in Markdown; lists where there are several of a kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "Teaching set"
    description: str = ""
    creators: tuple[str, ...] = ()
    licence: str = ""
    url: str = ""
    uses: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    social_impact: str = ""
    annotators: tuple[str, ...] = ()
    maintenance: str = ""
    contact: str = ""


class File(Struct, frozen=True):
    """Of an export. `split`: of its examples."""

    name: str
    split: str
    sha256: str
    bytes: int
    rows: int


class Facts(Struct, frozen=True):
    """Of one version. `number`: its place among the versions, from 1. `at`: seconds since the epoch, when it was noted;
    `first_at`, `last_at`: when its examples were collected, as far as they say; 0: none does. `untaught`: examples that
    have no target, and are not in it. `not_exported`: how many are in the holdout, or left out. `told`: the ledger's
    notes up to it, by kind, the latest of each; `asked`: answers by teacher."""

    name: str
    number: int
    root: str
    records: int
    at: float
    files: tuple[File, ...]
    untaught: int
    not_exported: Mapping[str, int]
    sources: Mapping[str, int]
    origins: Sequence[str]
    licences: Sequence[str]
    bases: Sequence[str]
    tenants: int
    first_at: float
    last_at: float
    until: float | None
    families: int
    skills: Mapping[str, int]
    kinds: Mapping[str, int]
    asked: Mapping[str, int]
    models: Sequence[str]
    reviews: int
    reviewers: int
    masked: Mapping[str, int]
    erased: int
    told: Mapping[str, Mapping[str, Any]]

    @property
    def rows(self) -> dict[str, int]:
        return {file.split: file.rows for file in self.files}


class Seen:
    """Counts examples as they are exported. Mutable state: the counts."""

    def __init__(self) -> None:
        self.sources: Counter[str] = Counter()
        self.skills: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.origins: set[str] = set()
        self.licences: set[str] = set()
        self.bases: set[str] = set()
        self.tenants: set[str] = set()
        self.families: set[str] = set()
        self.first_at = self.last_at = 0.0
        self.until: float | None = None

    def add(self, example: Example) -> None:
        source = example.source
        self.sources[source.kind] += 1
        self.skills.update([example.skill] if example.skill else [])
        self.kinds[example.kind] += 1
        self.origins.add(source.origin)
        self.licences |= {source.licence} - {""}
        self.bases |= {source.legal_basis} - {""}
        self.tenants.add(source.tenant)
        self.families |= {example.family} - {""}
        if source.at:
            self.first_at, self.last_at = min(self.first_at or source.at, source.at), max(self.last_at, source.at)
        if source.retention_until is not None:
            self.until = min(self.until or source.retention_until, source.retention_until)


def facts(
    path: Path, name: str, files: Sequence[File], seen: Seen, untaught: int, not_exported: Mapping[str, int]
) -> Facts:
    """`name`: of a version that is in the ledger. What came after it does not count."""
    told: dict[str, dict[str, Any]] = {}
    asked: Counter[str] = Counter()
    masked: Counter[str] = Counter()
    models: set[str] = set()
    reviewers: set[str] = set()
    reviews: set[str] = set()
    erased = number = 0
    for entry in lines(path):
        kind, about = entry["kind"], entry["about"]
        if kind == "version":
            number += 1
            if about["name"] == name:
                break
        elif kind == "review":
            reviews.add(entry["id"])
            reviewers.add(about.get("reviewer", ""))
        elif kind == "ask":
            for teacher, of in about["teachers"].items():
                asked[teacher] += of["answers"]
                models |= {of["model"]} - {""}
        elif kind == "import":
            masked.update(about.get("masked", {}))
        elif "ids" in entry:
            erased += about.get("records", 0)
        if "id" not in entry:
            told[kind] = about
    return Facts(
        name=name,
        number=number,
        root=about["root"],
        records=about["records"],
        at=entry["at"],
        files=tuple(files),
        untaught=untaught,
        not_exported=not_exported,
        sources=dict(sorted(seen.sources.items())),
        origins=sorted(seen.origins),
        licences=sorted(seen.licences),
        bases=sorted(seen.bases),
        tenants=len(seen.tenants - {""}),
        first_at=seen.first_at,
        last_at=seen.last_at,
        until=seen.until,
        families=len(seen.families),
        skills=dict(sorted(seen.skills.items())),
        kinds=dict(sorted(seen.kinds.items())),
        asked=dict(sorted(asked.items())),
        models=sorted(models),
        reviews=len(reviews),
        reviewers=len(reviewers),
        masked=dict(sorted(masked.items())),
        erased=erased,
        told=told,
    )


def read_about(path: Path | None) -> About:
    if path is None:
        return About()
    try:
        return About.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SetError(f"{path}: expected a YAML file about the set, got: {error}") from None
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors()]
        known = ", ".join(About.model_fields)
        raise SetError(f"{path}: {'; '.join(wrong)}; what can be said: {known}") from None


def origin_words(of: Facts) -> str:
    """What kind of thing the examples are. Said first, and plainly."""
    real, total = of.sources.get("real_trace", 0), sum(of.sources.values())
    if not real:
        return STAND_IN
    made = total - real
    words = f"{real:,} of {total:,} examples are real traces: requests that a gateway captured."
    if made:
        words += f" **The other {made:,} were made up** ({_counts(of.sources, but='real_trace')})."
    return words


def when_words(of: Facts) -> str:
    return f"{day(of.first_at)} to {day(of.last_at)}" if of.last_at else "at no date that it says"


def scrub_words(of: Facts) -> str:
    scan = of.told.get("scan", {})
    masked = f"Masked before anything was stored: {_counts(of.masked)}." if of.masked else "Nothing was masked."
    return (
        f"{masked} A second look found {scan.get('leaking', 0):,} of {scan.get('examples', 0):,} examples leaking "
        f"(at most {scan.get('upper', 1):.2%} of such traffic, with 95 % confidence). No look finds everything: treat "
        "the set as personal data."
    )


def teach_words(of: Facts) -> str:
    if not of.asked:
        return "No teacher was asked: what is taught is the answer that came with the example."
    words = f"Answers were sampled of: {_counts(of.asked)} (models: {', '.join(of.models) or 'unnamed'})."
    verdicts: Counter[str] = Counter()
    for said in of.told.get("judge", {}).get("verdicts", {}).values():
        verdicts.update(said)
    return words + (f" Filters said: {_counts(verdicts)}." if verdicts else " No filter has judged them.")


def review_words(of: Facts) -> str:
    if not of.reviews:
        return "No person has reviewed an answer."
    alpha = of.told.get("review read", {}).get("alpha")
    agreed = "" if alpha is None else f" Their agreement (Krippendorff's alpha): {alpha}."
    return f"{of.reviews:,} answers were reviewed by {of.reviewers} people, who did not see whose they were.{agreed}"


def markdown(of: Facts, about: About) -> str:
    """The card. The same for the same version and the same words of people."""
    until = "no date is set" if of.until is None else f"the earliest: {day(of.until)}"
    rows = [[file.name, file.split, f"{file.rows:,}", f"{file.bytes:,}", f"`{file.sha256}`"] for file in of.files]
    split_rows = [[split, f"{count:,}", "yes"] for split, count in of.rows.items()]
    split_rows += [[split, f"{count:,}", "no"] for split, count in of.not_exported.items()]
    parts = [
        f"# {about.name}: {of.name}",
        origin_words(of),
        about.description,
        "## What is in it",
        _table(["split", "examples", "in this export"], split_rows),
        f"Of them {_counts(of.kinds)}; {len(of.skills)} skills, {of.families} template families. {of.untaught:,} more "
        "have no answer that is taught, and are not in it.",
        "What is of one person, session or template family, or nearly the same text, is in one split. Train, dev and "
        "calibration shape a model; gold compares teachers; the holdout measures students, and is in no export.",
        "## Where it is from",
        f"Collected {when_words(of)} from: {', '.join(of.origins)}. Tenants: {of.tenants}. "
        f"Legal basis: {', '.join(of.bases) or 'none named'}. Licences of sources: "
        f"{', '.join(of.licences) or 'none named'}.",
        "## What is taught",
        teach_words(of),
        review_words(of),
        "## Personal data",
        scrub_words(of),
        f"Kept until: {until}. Records erased so far: {of.erased:,}. An export has neither pseudonyms nor ids of "
        "requests; `understudy teachset lineage SET ID` finds where an example is from.",
        "## What it is for, and what not",
        "Uses:\n" + _list(about.uses),
        "Limits:\n" + _list(about.limits),
        "Biases:\n" + _list(about.biases),
        f"Social impact: {about.social_impact or UNSAID}",
        "## Who keeps it",
        f"Made by: {', '.join(about.creators) or UNSAID} Contact: {about.contact or UNSAID} Licence: "
        f"{about.licence or UNSAID} Maintenance: {about.maintenance or UNSAID}",
        "## Files",
        _table(["file", "split", "examples", "bytes", "SHA-256"], rows),
        f"Version {of.name}, {day(of.at)}: {of.records:,} records with the Merkle root `{of.root}`. `understudy "
        "teachset verify SET` works that root out again from the ledger.",
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _counts(counts: Mapping[str, int], but: str = "") -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if name != but)


def _list(said: Iterable[str]) -> str:
    return "\n".join(f"- {one}" for one in said) or f"- {UNSAID}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *rows])


def digest(about: About) -> bytes:
    return msgspec.json.encode(about.model_dump(), order="sorted")
