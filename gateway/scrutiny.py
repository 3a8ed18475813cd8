"""What an answer goes through before its client sees it: checks of its form, and whether the student was sure of it."""

from collections.abc import Iterable

from gateway.attempt import Attempt
from gateway.exchange import Withheld
from gateway.face.logprobs import Logprobs, can_be_judged, to_ask
from gateway.intake import Admitted
from gateway.net import Caught
from gateway.state import Gateway
from router_policies.attempts import Ask, Kind
from router_policies.decide import KILL_SWITCH
from router_policies.risk.deferral import Deferral, Deferred
from router_policies.risk.rules import Band
from router_policies.routes import Role
from router_policies.verify import Verify, verify

_FULL = Verify()


def checked(gateway: Gateway, request: Admitted, attempt: Attempt, answer: bytes) -> str | None:
    """What is wrong with a whole answer, None if nothing is or nothing was asked for."""
    judged = request.decision.judged
    what = request.decision.route.fallback.verify
    if what is None and judged is not None and attempt.ask.candidate.role is Role.STUDENT:
        what = _FULL if judged.band is not Band.LOW else None
    if what is None or not request.view.asks_for_format:
        return None
    finding = verify(request.endpoint.path, request.body, answer, what)
    if finding is None:
        return None
    gateway.metrics.failed_check(request.decision.route.name, attempt.upstream.name, finding.kind)
    return f"{finding.kind} at {finding.path}: {finding.detail}"


def withheld_of(request: Admitted, legs: Iterable[Attempt]) -> Withheld | None:
    """What was taken back of the answers of a request that was deferred."""
    for leg in legs:
        if leg.reserved_at:
            lost = leg.lost()
            answer = leg.answer[2] if leg.answer is not None else None
            return Withheld(
                answer, lost.usage, lost.estimated, lost.cost_nano_usd, leg.reserved_at - request.received_at
            )
    return None


class Doubt:
    """Of a request whose student's answer may be taken back. Mutable state: `sure`, its confidence, and `became`, what
    came of it, None before it is judged; `caught`, the place at the teacher that this holds."""

    __slots__ = ("_policy", "asks", "became", "caught", "sure")

    def __init__(self, policy: Deferral, asks: bytes | None) -> None:
        self._policy = policy
        self.asks = asks  # what the request's logprobs must be set to
        self.sure: float | None = None
        self.became: Deferred | None = None
        self.caught: Caught | None = None

    @classmethod
    def of(cls, request: Admitted, policy: Deferral) -> "Doubt | None":
        """None where an answer cannot be taken back, or has no log-probabilities, or somebody has said who answers."""
        decision, endpoint, view = request.decision, request.endpoint, request.view
        if decision.role is not Role.STUDENT or decision.reason == KILL_SWITCH:
            return None
        if not can_be_judged(decision.route, endpoint, view):
            return None
        return cls(policy, to_ask(endpoint, view))

    def watch(self, request: Admitted, ask: Ask) -> Logprobs | None:
        """For a leg that is about to be asked; None if it is not the one whose answer may be taken back."""
        if ask.kind is not Kind.PRIMARY or ask.candidate.role is not Role.STUDENT:
            return None
        return Logprobs(request.endpoint, strips=self.asks is not None)

    def defers(self, gateway: Gateway, request: Admitted, logprobs: Logprobs) -> bool:
        """Whether the teacher is to be asked, and may be. Judged once."""
        if self.became is not None:
            return False
        route = request.decision.route
        logprobs.wanted = False
        held = route.fallback.hold + 1 if request.view.stream else None  # however many have come in one piece
        self.sure = self._policy.confidence(logprobs.values[:held])
        self.became = self._policy.judge(logprobs.values[:held])
        if self.became is not Deferred.DEFERRED:
            return False
        lack = gateway.nets.lack(route, gateway.upstreams[route.teacher], self._policy)
        if lack is not None:
            self.became = Deferred(lack)
            return False
        self.caught = gateway.nets.catch(route.name, deferred=True)
        return True
