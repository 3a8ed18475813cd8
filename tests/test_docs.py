"""What the pages say is there: links, anchors, commands, error codes, tests and files."""

import re
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from gateway.cli import app
from gateway.face import errors

ROOT = Path(__file__).parent.parent
FOLDERS = ("docs", "benchmarks", "dashboards", "deploy", "examples")
PAGES = sorted({*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))})
EXAMPLE = ROOT / "examples" / "gateway.yaml"
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"^( *)```.*?^\1```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def text_of(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of the headings: small letters, no punctuation, - for a space, numbered if there before."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        told = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        base = re.sub(r"[^\w\- ]", "", told.lower()).strip().replace(" ", "-")
        numbered = (base if not number else f"{base}-{number}" for number in range(len(found) + 1))
        found.add(next(name for name in numbered if name not in found))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(<?([^)>\s]+)", text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"it links to {link}, and {target.relative_to(ROOT)} is not there"
        assert not anchor or anchor in anchors(target), f"it links to {link}; there are {sorted(anchors(target))}"


@pytest.mark.parametrize("page", [*PAGES, EXAMPLE], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_their_options_exist(page: Path) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    code = page.read_text() if page == EXAMPLE else "\n".join(found[0] for found in CODE.finditer(page.read_text()))
    for name, rest in re.findall(r"(?<![-/.\w])understudy ([a-z]+)([^\n`;|&]*)", code):
        assert name in group.commands, f"understudy {name}: there are {', '.join(group.commands)}"
        command = group.commands[name]
        while isinstance(command, TyperGroup) and rest.split():
            below, rest = [*rest.split(maxsplit=1), ""][:2]
            assert below in command.commands, f"understudy {name} {below}: there are {', '.join(command.commands)}"
            command, rest = command.commands[below], f" {rest}"
        options = {option for parameter in command.params for option in parameter.opts}
        unknown = set(re.findall(r"(?<=\s)--?[a-z][a-z-]*", rest)) - options
        assert not unknown, f"understudy {name} {unknown}: there are {', '.join(sorted(options))}"


def test_every_error_of_the_gateway_is_documented() -> None:
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("applications.md", "control.md"))
    for kind in (kind for kind in vars(errors).values() if isinstance(kind, errors.ErrorKind)):
        lines = [line for line in pages.splitlines() if f"`{kind.code}`" in line]
        assert any(str(kind.status) in line for line in lines), f"{kind.status} `{kind.code}` is on no line"


def test_tests_that_pages_name_exist() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    tests = set(re.findall(r"def (test_\w+)", source))
    for page in (ROOT / "docs").rglob("*.md"):
        for name, open_end in re.findall(r"`(test_\w+)(…?)`", page.read_text()):
            there = any(test.startswith(name) for test in tests) if open_end else name in tests
            assert there, f"{page.name} names {name}"
        for path in re.findall(r"`((?:tests|benchmarks|examples|dashboards)/[\w/.]+)`", page.read_text()):
            assert (ROOT / path).exists(), f"{page.name} names {path}"
