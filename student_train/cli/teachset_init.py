"""`understudy teachset init` and `status`: a new set, and what is in one."""

from student_train.cli.teachset_tell import SetArgument, fail, opened, say, table
from student_train.teachset.lineage import history
from student_train.teachset.store import SetError, TeachingSet


def init(path: SetArgument) -> None:
    """Make an empty teaching set in a new directory."""
    try:
        TeachingSet.create(path).close()
    except (SetError, OSError) as error:
        fail(str(error))
    say(f"{path} is there. Its secret is in {path / 'secret'}: it names people and draws splits; keep it to this set.")


def status(path: SetArgument) -> None:
    """Say what is in a set: records, splits, versions and the models trained on them."""
    with opened(path) as teaching:
        sizes, head = teaching.sizes(), teaching.head
        known = history(path)
    splits = {name.removeprefix("split:"): n for name, n in sizes.items() if name.startswith("split:")}
    kinds = {name: n for name, n in sizes.items() if not name.startswith("split:")}
    waiting = kinds.get("example", 0) - sum(splits.values())
    table(["records", "number"], [[kind, f"{n}"] for kind, n in kinds.items()])
    table(["split", "examples"], [[name, f"{n}"] for name, n in {**splits, "in none yet": waiting}.items() if n])
    if known.versions:
        taught = [
            ", ".join(model.name for model in known.models if model.version == one.name) for one in known.versions
        ]
        rows = [[one.name, names or "none", one.root] for one, names in zip(known.versions, taught, strict=True)]
        table(["version", "models trained on it", "root"], rows)
    say(f"{head[0]} entries in the ledger, the last with hash {head[1]}.")
