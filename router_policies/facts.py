"""Facts: what a decision may know of a request, gathered without calling a model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """`route` is the model name the app asked for; `sticky_key` what keeps one session on one side of the split."""

    route: str
    sticky_key: str
