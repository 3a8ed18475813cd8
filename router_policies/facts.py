"""Facts: what a decision may know of a request, gathered without calling a model."""

import msgspec


class Facts(msgspec.Struct, frozen=True, gc=False):
    """`route` is the model name the app asked for; `sticky_key` what keeps one session on one side of the split."""

    route: str
    sticky_key: str
