"""Why the door does not make a change. Nothing was changed then."""

from gateway.stores.protocols import Key

_SHOWN, _LONGEST = 30, 300  # problems, and characters of one


class Refusal(Exception):
    """A change that is not made."""


class NotThere(Refusal):
    """There is no such document. `version` and `by` say when and by whom it was taken out of service, if it was."""

    def __init__(self, key: Key, version: int = 0, by: str = "") -> None:
        super().__init__(f"{key.kind} {key.name!r}")
        self.key = key
        self.version = version
        self.by = by


class NoSuchVersion(Refusal):
    """The document never had this version."""

    def __init__(self, version: int, newest: int) -> None:
        super().__init__(f"version {version}: expected one from 0 (the config file's) to {newest}")


class InvalidChange(Refusal):
    """`problems` names each thing that is wrong, by path. `param` is the first key of the change that is, if it is one
    of the change's keys."""

    def __init__(self, problems: list[str], param: str | None = None) -> None:
        shown = [problem if len(problem) <= _LONGEST else f"{problem[:_LONGEST]}…" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"and {len(problems) - _SHOWN} more")
        super().__init__("; ".join(shown))
        self.problems = shown
        self.param = param


class NeedsOverride(Refusal):
    """A step that is larger than what is allowed without saying that it is meant."""


class Conflict(Refusal):
    """Another version stands than the one that was to be changed, or the document is (not) there."""

    def __init__(self, key: Key, version: int, exists: bool) -> None:
        super().__init__(f"version {version} stands{'' if exists else ', and it is not in service'}")
        self.key = key
        self.version = version
        self.exists = exists


class NotPlanned(Refusal):
    """What was to be taken back was taken back already, or is not to be any more."""
