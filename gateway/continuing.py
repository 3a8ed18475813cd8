"""How another upstream is asked to go on with an answer that broke off."""

from collections.abc import Iterable

import msgspec

from gateway.attempt import Attempt
from gateway.intake import Admitted
from gateway.upstream.upstream import Upstream
from router_policies.rescue import Refusal, Seam, Transcript, continuation

_encode = msgspec.json.Encoder().encode


def continued(
    request: Admitted,
    upstream: Upstream,
    said: Transcript,
    told: Attempt | None,
    legs: Iterable[Attempt],
    *,
    ask_usage: bool,
) -> tuple[Seam, list[bytes]] | None:
    """The seam between what was `said` and what is to come, and the body to send; None if it cannot be gone on with.
    `told`: the leg that broke off."""
    try:
        asked_for = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    first = told.watch if told is not None else None
    sent = (first.tokens if first is not None else 0) + sum(leg.relayed for leg in legs)
    asked = continuation(request.endpoint.path, asked_for, said, upstream.capabilities.continues, sent)
    if isinstance(asked, Refusal):
        return None
    body = {**asked.request, "model": upstream.model}
    if ask_usage:
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return Seam(said, asked.mode), [_encode(body)]
