"""`python -m tests.faults.scorecard` plays every case and writes docs/faults.md. It fails if a case does.

With names, `python -m tests.faults.scorecard cut-closed 429`, only those cases, and nothing is written.
"""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from time import monotonic

from tests.faults.case import Mode
from tests.faults.cases import CASES, GROUPS
from tests.faults.run import Result, play

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
INTRO = """# What happens when a model misbehaves

<!-- Written by `python -m tests.faults.scorecard`; change the cases in tests/faults/cases, not this page. -->

Each line is a fault that providers are known for, played by a scripted server against a real gateway process, with an
app that streams and with one that does not. `small` is asked first, `big` is its fallback. Each cell says what the app
got, through the official `openai` client, and what the two providers saw.

- The app's side is read twice: what the client made of it, and the bytes. A stream must keep one id, say its role and
  its finish reason once, relay no broken event, and end with `[DONE]` or with an error that the client raises on.
- The text of an answer that two providers gave has to be the whole text, to the byte: no gap, no repetition.
- No call is left open: 100 ms after the app has its answer, or has left, every provider that still had something to say
  has seen its connection close. One that has given its finish reason and does not hang up gets two seconds.
- The deadlines of these routes are short, so that the page is made in a minute: 0.8 s to the first token, or to a whole
  answer while somebody else could still be asked; 0.6 s for a stall.

Make this page again with `python -m tests.faults.scorecard`. The same cases are tests: `pytest tests/faults`.
"""


def main(names: Sequence[str]) -> int:
    if unknown := set(names) - {case.name for case in CASES}:
        print(f"no such case: {', '.join(sorted(unknown))}; there are: {', '.join(case.name for case in CASES)}")
        return 2
    started = monotonic()
    chosen = [(case, mode) for case in CASES for mode in case.modes if not names or case.name in names]
    run = asyncio.run(play(chosen))
    results = run.results
    for result in results:
        if names or result.problems:
            verdict = "FAIL" if result.problems else "pass"
            print(f"{verdict} {result.case.name} ({result.mode.value}), {result.took_s:.2f} s")
            print(f"     caller: {result.caller}\n     providers: {result.providers}")
            print("".join(f"     - {problem}\n" for problem in result.problems), end="")
    failed = sum(bool(result.problems) for result in results)
    for problem in run.problems:
        print(f"FAIL the gateway: {problem}")
    print(f"{len(results) - failed} of {len(results)} passed in {monotonic() - started:.0f} s")
    if not names:
        PAGE.write_text("\n".join(_page(results, monotonic() - started)))
        print(f"written: {PAGE}")
    return 1 if failed or run.problems else 0


def _page(results: Sequence[Result], took_s: float) -> Iterable[str]:
    passed = sum(not result.problems for result in results)
    yield INTRO
    yield f"**{passed} of {len(results)} pass**; all of them were played in {took_s:.0f} s.\n"
    of = {(result.case.name, result.mode): result for result in results}
    for title, cases in GROUPS:
        yield f"## {title}\n"
        yield "| fault | streaming | not streaming |\n|---|---|---|"
        for case in cases:
            cells = (_cell(of.get((case.name, mode))) for mode in Mode)
            yield f"| {case.fault} | {' | '.join(cells)} |"
        yield ""


def _cell(result: Result | None) -> str:
    if result is None:
        return "–"
    verdict = "**fail**" if result.problems else "pass"
    said = f"{verdict}, {result.took_s:.2f} s: {result.caller}<br>{result.providers}".replace("|", "\\|")
    if result.problems:
        said += "".join(f"<br>✗ {_plain(problem)}" for problem in result.problems[:3])
    return said


def _plain(text: str) -> str:
    return " ".join(text.split())[:200].replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
