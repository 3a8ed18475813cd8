"""`understudy score`: any pack over recorded answers, offline."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.options import fail
from gateway.packs import load_pack
from router_policies.checks.check import Answer, CheckVerdict, Outcome, Request
from router_policies.checks.pack import Pack, PackError, joined
from router_policies.checks.reading import CHAT, COMPLETIONS, RESPONSES, read_answer, read_request
from router_policies.checks.verdict import FamilyVerdict, families, findings, verdict

_EXAMPLES = 3  # of each check
_TOLD = 10  # lines that cannot be read


class Line(msgspec.Struct):
    """A line of the file: see docs/checks.md."""

    request: dict[str, Any] | str
    student: dict[str, Any] | str | None = None
    teacher: dict[str, Any] | str | None = None
    endpoint: str | None = None
    id: str | int | None = None


@dataclass(slots=True)
class Side:
    """How often a side passed, failed, and was not a check's business. Mutable state: the counts."""

    passed: int = 0
    failed: int = 0
    na: int = 0

    def add(self, outcome: Outcome) -> None:
        if outcome is Outcome.NA:
            self.na += 1
        elif outcome is Outcome.FAIL:
            self.failed += 1
        else:
            self.passed += 1

    @property
    def rate(self) -> str:
        judged = self.passed + self.failed
        return f"{self.failed}/{judged} ({100 * self.failed / judged:.1f} %)" if judged else "-"


@dataclass(slots=True)
class Tally:
    """Of one check, or of all of a family. `compared`: pairs of which it judged a side, or that differ. Mutable
    state: all that is counted."""

    check: str
    family: str
    version: int | None = None
    student: Side = field(default_factory=Side)
    teacher: Side = field(default_factory=Side)
    compared: int = 0
    disagree: int = 0
    student_worse: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, found: CheckVerdict | FamilyVerdict) -> None:
        self.student.add(found.student)
        self.teacher.add(found.teacher)
        if {found.student, found.teacher} != {Outcome.NA} or not found.agree:
            self.compared += 1
        self.disagree += not found.agree
        self.student_worse += found.student_worse

    def show(self, where: str, path: str, evidence: str, severity: str) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.append({"line": where, "path": path, "evidence": evidence, "severity": severity})


@dataclass(slots=True)
class Report:
    """Mutable state: what is counted. `unreadable`: lines, and why."""

    pack: str
    checks: dict[str, Tally]
    families: dict[str, Tally]
    pairs: int = 0
    alone: int = 0
    unreadable: list[str] = field(default_factory=list)


def score(
    file: Annotated[Path, typer.Argument(help="Recorded requests and answers, one JSON object a line.")],
    packs: Annotated[
        list[str], typer.Option("--pack", "-p", help="The name of a pack, or its file. May be given more than once.")
    ] = ["default"],  # noqa: B006 - typer's own way, and never changed
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Writes every verdict there, as JSON lines.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Prints the report as JSON.")] = False,
) -> None:
    """Run the checks of a pack over recorded answers and print what they find.

    A line is {"request": ..., "student": ..., "teacher": ...}: the request's body or just a prompt; answers as bodies,
    as texts, or as {"sse": "data: ..."} for a captured stream. One of the answers may be left out; the other is judged
    by itself then. Exit code 1 if a line cannot be read. The report has none of the answers' text.
    """
    try:
        chosen = joined([load_pack(pack) for pack in packs])
        lines = file.open("rb")
    except PackError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file}: {error.strerror}")
    with lines:
        report = _run(chosen, enumerate(lines, 1), out)
    if as_json:
        typer.echo(json.dumps(asdict(report), indent=2))
    else:
        _print(report)
    if report.unreadable or not report.pairs + report.alone:
        raise typer.Exit(1)


def _run(pack: Pack, lines: Iterator[tuple[int, bytes]], out: Path | None) -> Report:
    checks = {entry.name: Tally(entry.name, entry.check.family, entry.check.version) for entry in pack.entries}
    of_all = {tally.family: Tally(f"all of {tally.family}", tally.family) for tally in checks.values()}
    report = Report(pack.title, checks, of_all)
    written = out.open("w", encoding="utf-8") if out is not None else None
    try:
        for number, text in lines:
            if not text.strip():
                continue
            try:
                found = _score(pack, number, text, report)
            except (ValueError, UnicodeDecodeError) as error:
                report.unreadable.append(f"line {number}: {error}")
                continue
            if written is not None:
                written.write(json.dumps(found) + "\n")
    finally:
        if written is not None:
            written.close()
    return report


def _score(pack: Pack, number: int, text: bytes, report: Report) -> dict[str, Any]:
    """What is written of a line; what is counted of it goes into the report."""
    line = msgspec.json.decode(text, type=Line)
    where = str(number) if line.id is None else f"{number} ({line.id})"
    endpoint = line.endpoint or _endpoint(line.request)
    request = _request(endpoint, line.request)
    if line.student is not None and line.teacher is not None:
        student, teacher = _answer(endpoint, line.student, "student"), _answer(endpoint, line.teacher, "teacher")
        verdicts = verdict(pack, request, student, teacher)
        report.pairs += 1
        for found in verdicts:
            tally = report.checks[found.check]
            tally.add(found)
            if not found.agree or found.student_worse:
                tally.show(where, found.path, found.evidence, found.severity)
        for family, of_it in families(verdicts).items():
            report.families[family].add(of_it)
        return {"line": number, "id": line.id, "verdicts": [asdict(found) for found in verdicts]}
    side = "teacher" if line.student is None else "student"
    given = line.teacher if line.student is None else line.student
    if given is None:
        raise ValueError("expected a student's or a teacher's answer, or both, got none")
    listed = []
    for entry, finding in findings(pack, request, _answer(endpoint, given, side)):
        tally = report.checks[entry.name]
        (tally.teacher if side == "teacher" else tally.student).add(finding.outcome)
        if finding.outcome is Outcome.FAIL:
            tally.show(where, finding.path, finding.evidence, finding.severity)
        listed.append({"check": entry.name, "side": side, **asdict(finding)})
    report.alone += 1
    return {"line": number, "id": line.id, "findings": listed}


def _endpoint(request: dict[str, Any] | str) -> str:
    """By the field that each endpoint needs."""
    if isinstance(request, str) or "messages" in request:
        return CHAT
    return COMPLETIONS if "prompt" in request else RESPONSES


def _request(endpoint: str, given: dict[str, Any] | str) -> Request:
    body = {"messages": [{"role": "user", "content": given}]} if isinstance(given, str) else given
    return read_request(endpoint, msgspec.json.encode(body))


def _answer(endpoint: str, given: dict[str, Any] | str, side: str) -> Answer:
    if isinstance(given, str):
        return Answer(given)
    try:
        stream = given.get("sse")
        return read_answer(endpoint, stream.encode() if isinstance(stream, str) else msgspec.json.encode(given))
    except ValueError as error:
        raise ValueError(f"{side}: {error}") from None


def _print(report: Report) -> None:
    console = Console(highlight=False)
    table = Table(title=f"{report.pairs} pairs, {report.alone} answers alone, pack {report.pack}", title_justify="left")
    for heading in ("check", "family"):
        table.add_column(heading)
    for heading in ("student fails", "teacher fails", "differ", "student worse"):
        table.add_column(heading, justify="right")
    for tallies in (report.checks, report.families):
        for tally in tallies.values():
            sides = tally.student.rate, tally.teacher.rate
            shares = (_share(count, tally.compared) for count in (tally.disagree, tally.student_worse))
            table.add_row(tally.check, tally.family, *sides, *shares)
        table.add_section()
    console.print(table)
    for tally in report.checks.values():
        for shown in tally.examples:
            place = f" at {shown['path']}" if shown["path"] else ""
            why = f"{shown['evidence'] or 'they differ'} ({shown['severity']})"
            console.print(f"{tally.check}, line {shown['line']}{place}: {why}", markup=False, soft_wrap=True)
    for problem in report.unreadable[:_TOLD]:
        console.print(problem, markup=False, soft_wrap=True, style="red")
    if len(report.unreadable) > _TOLD:
        console.print(f"and {len(report.unreadable) - _TOLD} more lines that cannot be read", style="red")


def _share(count: int, of: int) -> str:
    return f"{count}/{of} ({100 * count / of:.1f} %)" if of else "-"
