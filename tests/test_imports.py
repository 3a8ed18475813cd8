"""The house's one-way streets: gateway -> router_policies <- student_train, and a pure core."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "router_policies": {
        *("gateway", "student_train"),
        *("asyncio", "socket", "time", "random", "secrets", "os", "io", "threading", "subprocess", "pathlib"),
        *("httpx", "httpx2", "aiohttp", "redis", "sqlite3", "fastapi", "starlette", "uvicorn"),
    },
    "gateway": {"student_train"},
    "student_train": {"gateway"},
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which way they point"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = set(imported(path)) & FORBIDDEN[package]
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(wrong)}"


def test_the_packages_are_found() -> None:
    assert any((ROOT / "router_policies").rglob("*.py"))
    assert any((ROOT / "gateway").rglob("*.py"))
