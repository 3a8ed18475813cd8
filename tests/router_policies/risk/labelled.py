"""Labelled texts of tests/data/risk/."""

import json
from pathlib import Path
from typing import Any

_DATA = Path(__file__).parents[2] / "data" / "risk"


def lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
