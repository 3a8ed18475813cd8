"""The README's commands are the ones that CI runs."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_ci_runs_the_two_commands_of_the_readme() -> None:
    commands = re.findall(r"^```sh\n(pip install .*?)\n```", README, re.MULTILINE)
    assert commands == ["pip install '.[demo]' && understudy demo", "pip install '.[test]' && pytest"]
    script = (ROOT / ".ci" / "run").read_text()
    for command in commands:
        for part in command.split(" && "):
            quiet = part.replace("pip install", "pip install -q")
            assert re.search(rf"^{re.escape(quiet)}( --once)?$", script, re.MULTILINE), quiet
