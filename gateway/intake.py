"""From a request's head and body to who asks for what, or to a refusal."""

import re
import secrets
from itertools import count
from time import time

import msgspec

from gateway.budgets import Reservation
from gateway.face.errors import (
    MISSING_KEY,
    RISK_TEACHER_DOWN,
    TOO_MANY,
    UNKNOWN_MODEL,
    UNSUPPORTED_ENCODING,
    WRONG_KEY,
    ApiError,
)
from gateway.face.openai import EMBEDDINGS, Endpoint, RequestView, read_request
from gateway.face.shape import check_shape
from gateway.net import Caught
from gateway.state import ANYONE, Gateway, Identity, Keys
from router_policies.decide import Decision, TeacherMissing, UnknownRoute, decide, with_risk
from router_policies.facts import Facts
from router_policies.risk.facts import RiskFacts
from router_policies.risk.judged import RouteRisk, judge
from router_policies.risk.net import SAFETY_NET
from router_policies.risk.rules import Band
from router_policies.split import Salt, point

RequestHeaders = dict[bytes, bytes]

_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_SHOWN = 128  # characters of a name that nobody knows
_BANDS = {band.value.encode(): band.value for band in Band}
_boot = secrets.token_hex(8)
_number = count()


def request_id(headers: RequestHeaders) -> str:
    """The client's own `x-request-id` if it is printable and at most 128 characters, else a new one."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return f"req_{_boot}{next(_number)}"


def check_head(keys: Keys, headers: RequestHeaders) -> Identity:
    """Whose request this is, before its body has come. Raises `ApiError` for what the head alone rules out."""
    identity = identify(keys, headers.get(b"authorization"))
    encoding = headers.get(b"content-encoding", b"identity").lower()
    if encoding != b"identity":
        raise ApiError(UNSUPPORTED_ENCODING, f"Expected an uncompressed body, got content-encoding {encoding!r}.")
    return identity


def identify(keys: Keys, authorization: bytes | None) -> Identity:
    """Who this is. Raises `ApiError` without a key, or with a wrong one, where keys are configured."""
    if keys.open:
        return ANYONE
    if not authorization:
        raise ApiError(MISSING_KEY, "You didn't provide an API key: expected the header 'Authorization: Bearer KEY'.")
    scheme, _, key = authorization.partition(b" ")
    identity = keys.find(key.strip()) if scheme.lower() == b"bearer" else None
    if identity is None:
        raise ApiError(WRONG_KEY, "Incorrect API key provided. Ask whoever runs this gateway for a key.")
    return identity


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A request that will be served. `received_at` is when its last byte came, monotonic seconds.

    `reservation` is what it holds of its key's budget, None if that has no limits; `caught` its place at the teacher if
    the safety net sent it there. Whoever serves it settles each once.
    """

    request_id: str
    endpoint: Endpoint
    query: bytes
    headers: RequestHeaders
    body: bytes
    view: RequestView
    identity: Identity
    decision: Decision
    received_at: float
    reservation: Reservation | None = None
    caught: Caught | None = None


def admit(
    gateway: Gateway,
    request_id: str,
    endpoint: Endpoint,
    query: bytes,
    headers: RequestHeaders,
    body: bytes,
    identity: Identity,
    received_at: float,
) -> Admitted:
    """Decide where a whole request goes. Raises `ApiError` for every reason to refuse it."""
    limits = gateway.config.limits
    if len(gateway.in_flight) >= limits.in_flight:
        raise ApiError(TOO_MANY, f"The gateway is serving {limits.in_flight} requests already. Try again in a moment.")
    view = read_request(body)
    check_shape(body, endpoint, limits.json_depth, limits.messages)
    routes, model = gateway.routes, str(view.model)
    route = routes.by_name.get(model)
    key = request_id
    if route is not None:
        for source in route.sticky:
            if value := _sticky_value(source, headers, view, identity):
                key = f"{source}={value}"
                break
    try:
        decision = decide(Facts(model, key), routes)
    except UnknownRoute:
        name = model if len(model) <= _SHOWN else f"{model[:_SHOWN]}..."
        message = f"The model {name!r} does not exist. GET /v1/models lists those that do."
        raise ApiError(UNKNOWN_MODEL, message, "model") from None
    if decision.route.risk is not None and endpoint is not EMBEDDINGS:  # which nobody reads
        decision = _judged(gateway, decision.route.risk, decision, key, endpoint, headers, body, identity)
    reservation = caught = None
    if identity.budget is not None:  # last: nothing that could fail comes after it
        reservation = identity.budget.reserve(body, generates=endpoint is not EMBEDDINGS, now=received_at)
    if decision.judged is not None and decision.reason == SAFETY_NET:
        caught = gateway.nets.catch(decision.route.name)
    return Admitted(
        request_id, endpoint, query, headers, body, view, identity, decision, received_at, reservation, caught
    )


def _judged(
    gateway: Gateway,
    policy: RouteRisk,
    decision: Decision,
    key: str,
    endpoint: Endpoint,
    headers: RequestHeaders,
    body: bytes,
    identity: Identity,
) -> Decision:
    """The decision under the request's risk. Raises `ApiError` if it is only the teacher's, and that is down."""
    route = decision.route
    facts = RiskFacts(
        endpoint.path,
        body,
        tenant=identity.tenant,
        tags=identity.tags,
        x_risk=_BANDS.get(headers.get(b"x-risk", b"").lower(), "") if policy.trust_header else "",
        context_tokens=gateway.upstreams[route.student].capabilities.context_tokens,
        model=policy.model,
    )
    teacher = gateway.nets.teacher(route, gateway.upstreams[route.teacher])
    judged = judge(policy, facts, point=point(Salt.NET, route.drawn_as, key), now=time(), teacher=teacher)
    gateway.risk_metrics.judged(route.name, judged.band)
    try:
        return with_risk(decision, judged)
    except TeacherMissing:
        gateway.risk_metrics.refused(route.name)
        wait_s = max(1, round(gateway.upstreams[route.teacher].retry_after_s() + 0.5))
        message = (
            f"This request is only for the upstream {route.teacher!r}, which has failed too often just now. "
            f"Try again in {wait_s} s."
        )
        raise ApiError(RISK_TEACHER_DOWN, message, retry_after_s=wait_s) from None


def _sticky_value(source: str, headers: RequestHeaders, view: RequestView, identity: Identity) -> str | None:
    if source == "user":
        return view.end_user
    if source == "key":
        return identity.name or None
    value = headers.get(source.removeprefix("header:").encode())
    return value.decode("latin-1") if value else None
