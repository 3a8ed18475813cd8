"""What was live last, in a file that the workers of one `understudy serve` share.

A worker that is started while the store cannot be asked, in place of one that died, must not serve what the config file
says: a kill switch may have been thrown since. So every worker notes what it applies, and such a one begins with that.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

from gateway.control.trail import decode, encode
from gateway.stores.protocols import Standing

LAST_FILE = "UNDERSTUDY_LAST_FILE"


def note(standing: Standing) -> None:
    """Keep it, if there is a place to. That this may fail is no reason not to serve."""
    path = os.environ.get(LAST_FILE)
    if not path:
        return
    lines = [json.dumps({"revision": standing.revision, "hash": standing.hash})]
    lines += map(encode, standing.changes.values())
    mine = Path(f"{path}.{os.getpid()}")
    with suppress(OSError):
        mine.write_text("\n".join(lines))
        mine.replace(path)


def noted() -> Standing | None:
    """What was kept, None if there is nothing."""
    path = os.environ.get(LAST_FILE)
    if not path:
        return None
    try:
        first, *lines = Path(path).read_text().splitlines()
        head = json.loads(first)
        made = [decode(line) for line in lines]
    except (OSError, ValueError):
        return None
    return Standing(head["revision"], head["hash"], {change.draft.key: change for change in made})
