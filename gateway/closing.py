"""A request has ended: what it held is given back, what it cost is booked, and its record is made."""

from collections.abc import Sequence

from gateway.answering import reason_of
from gateway.attempt import Attempt
from gateway.exchange import Exchange, Outcome
from gateway.intake import Admitted
from gateway.scrutiny import Doubt
from gateway.state import Gateway
from router_policies.prices import cost_nano_usd
from router_policies.routes import Role


def close(
    gateway: Gateway,
    request: Admitted,
    legs: Sequence[Attempt],
    attempt: Attempt,
    outcome: Outcome,
    status: int,
    first_token_at: float | None,
    sent_at: float,
    done_at: float,
    now: float,
    doubt: Doubt | None,
) -> Exchange:
    """The record of a request that `attempt` answered, or failed to. `done_at`: when the answer was whole, 0 if it
    never was. All are monotonic seconds."""
    usage, estimated = attempt.spent()
    cost = cost_nano_usd(attempt.upstream.price, usage)
    lost = tuple(leg.lost() for leg in legs if leg is not attempt) if len(legs) > 1 else ()
    for leg in legs:
        if leg.watch is not None and leg.watch.malformed:
            gateway.metrics.malformed(leg.upstream.name, leg.watch.malformed)
    if request.reservation is not None:
        used = [usage, *(leg.usage for leg in lost)]
        request.reservation.settle(sum(one.input + one.output for one in used))
    caught = request.caught if doubt is None else doubt.caught
    if caught is not None:
        own = cost if attempt.ask.candidate.role is Role.TEACHER else 0
        caught.settle(own + sum(leg.cost_nano_usd for leg in lost if leg.role is Role.TEACHER))
    first = first_token_at if request.view.stream or first_token_at is None else now
    if first is not None and request.view.stream:
        gateway.first_token_took(request.decision.route.fallback, attempt.upstream.name, first - attempt.ask.since)
    if doubt is not None and doubt.became is not None:
        gateway.risk_metrics.deferral(request.decision.route.name, doubt.became)
    return Exchange(
        request_id=request.request_id,
        endpoint=request.endpoint.path,
        tenant=request.identity.tenant,
        key_name=request.identity.name,
        decision=request.decision,
        upstream=attempt.upstream.name,
        role=attempt.ask.candidate.role,
        kind=attempt.ask.kind,
        reason=reason_of(request, attempt),
        stream=bool(request.view.stream),
        status=status,
        outcome=outcome,
        ttft_s=None if first is None else first - request.received_at,
        ttlt_s=now - request.received_at,
        overhead_s=(sent_at or now) - request.received_at + (now - done_at if done_at else 0.0),
        usage=usage,
        estimated=estimated,
        cost_nano_usd=cost,
        lost=lost,
        sure=doubt.sure if doubt is not None else None,
        deferral=doubt.became if doubt is not None else None,
    )
