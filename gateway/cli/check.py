"""`understudy check`: a config in words.

Whoever reads this may have been woken by a pager. So each route and each upstream is a list of its own that fits a
narrow terminal, under the names the keys have in the file, with what follows from them: who is really asked after
whom, and what is not done. Keys are shown by their names; no secret is ever printed.
"""

from collections.abc import Iterable
from datetime import UTC, datetime

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway import config
from gateway.cli.options import DEFAULT_CONFIG, ConfigOption, fail
from gateway.stores.url import shown
from router_policies.evidence.rules import Over
from router_policies.prices import NANO_USD_PER_USD
from router_policies.risk.judged import RouteRisk
from router_policies.risk.net import Decay, SafetyNet, TeacherDown
from router_policies.rollout.plan import Gate, Plan
from router_policies.rollout.step import duration
from router_policies.routes import Deadlines, MidStream, Role, Route
from router_policies.shadow import Shadow

Facts = Iterable[tuple[str, str]]
_CONTINUES = {
    "auto": "auto: as GET /models of the server says; until it has answered, a broken answer is asked anew",
    "vllm": "vllm: goes on with a broken answer, by continue_final_message",
    "prefill": "prefill: goes on with a broken answer that is the last message",
    "no": "no: a broken answer is asked anew",
}

_GATES = {Gate.AUTO: "", Gate.MANUAL: ", after a promote"}


def check(config_file: ConfigOption = DEFAULT_CONFIG) -> None:
    """Validate a config file and say what it means. Exit code 1, with every problem by its path, if it is not valid."""
    try:
        settings = config.load(config_file)
    except config.ConfigError as error:
        fail(str(error))
    console = Console(highlight=False)
    console.print(Text.assemble((str(config_file), "bold"), " is valid."))
    _print(console, "Gateway", _gateway(settings))
    if settings.keys:
        console.print(_title("Keys, limits of all replicas together"), _keys(settings.keys))
    for name, route in settings.build_routes().by_name.items():
        _print(console, f"Route {name}", _route(route, settings.routes[name]))
    for name, upstream in settings.upstreams.items():
        _print(console, f"Upstream {name}", _upstream(upstream))
    _print(console, "What clients may do, per worker", _edge(settings.limits))


def _print(console: Console, title: str, facts: Facts) -> None:
    """A heading, and a line for each fact; what does not fit goes on below itself."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, said in facts:
        table.add_row(Text(name), Text(said))
    console.print(_title(title), Padding(table, (0, 0, 0, 2)))


def _title(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def _gateway(settings: config.Config) -> Facts:
    yield "listen", settings.listen
    if settings.open:
        yield "keys", "Open: no keys, so whoever reaches this loopback port may use it and change routes."
    else:
        yield "keys", f"{len(settings.keys)}, listed below; without one of them nobody gets in"
    yield "store", f"live changes are kept in {shown(settings.store)}, and lie over what this file says"
    yield "drain_s", f"requests under way get {_seconds(settings.drain_s)} to finish after SIGTERM"
    yield "routing_headers", "answers say who served and why" if settings.routing_headers else "off"


def _keys(keys: list[config.KeyConfig]) -> Padding:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("name", "role", "tenant"):
        table.add_column(column, overflow="fold")
    for column in ("requests/min", "tokens/min", "at once"):
        table.add_column(column, justify="right")
    for key in keys:
        limits = key.limits
        numbers = (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrency)
        told = ("no limit" if number is None else f"{number:,}" for number in numbers)
        table.add_row(*map(Text, (key.name, key.role, key.tenant, *told)))
    return Padding(table, (0, 0, 0, 2))


def _route(route: Route, written: config.RouteConfig) -> Facts:
    fallback = written.fallback
    student, teacher = route.student_percent, 100 - route.student_percent
    yield "split", f"{student:g} % to {route.student}, {teacher:g} % to {route.teacher}"
    yield "sticky", ", then ".join([*route.sticky, "each request by itself"])
    yield "deadlines", _deadlines(route.deadlines)
    yield "order", "\n".join(f"{role} first: {_order(route, role)}" for role in (Role.STUDENT, Role.TEACHER))
    yield "retries", _retries(route.fallback.retries)
    yield "on", f"{', '.join([*fallback.on, 'an open breaker'])}: then the next is asked"
    yield "mid_stream", _mid_stream(fallback.mid_stream, route.fallback.hold)
    yield "hedge_after_s", _hedge(fallback.hedge_after_s)
    yield "verify", _verify(fallback.verify)
    yield "capture", _capture(written.capture)
    yield "risk", _risk(route.risk)
    if route.risk is not None:
        yield "safety_net", _safety_net(route.risk.net)
    yield "shadow", _shadow(route.shadow)
    yield "deferral", _deferral(route)
    yield "rollout", _rollout(written.plan())


def _shadow(shadow: Shadow | None) -> str:
    if shadow is None:
        return "off: no request is mirrored"
    told = [f"{shadow.sample:.3g} of requests are mirrored, {shadow.high_risk:.3g} of those at high risk"]
    for one in shadow.opinions:
        cap = one.max_nano_usd_per_day
        money = "without a limit" if cap is None else f"for {cap / NANO_USD_PER_USD:g} dollars a day at most"
        told.append(f"{one.kind}: {one.upstream} is sent {one.sample:.3g} of pairs, redacted, {money}; for people only")
    return "\n".join(told)


def _rollout(plan: Plan | None) -> str:
    if plan is None:
        return "none: the split is what people make it"
    ladder = [f"{step.weight:g} % ({duration(step.min_bake_s)} at least{_GATES[step.gate]})" for step in plan.steps]
    watched = [check for check in plan.checks if not check.dry_run]
    told = [f"once it is started: {', '.join(ladder)}"]
    for critical, follows in ((True, f"rolls back to {plan.rollback_to:g} %"), (False, "pauses")):
        if names := ", ".join(check.name for check in watched if check.critical is critical):
            told.append(f"{follows} when one of these fails: {names}")
    if len(plan.strata) > 1:
        bands = ", ".join(plan.strata)
        told.append(
            f"must pass in each of {bands}" if plan.over is Over.EACH_STRATUM else f"judged over {bands} together"
        )
    if dry := ", ".join(check.name for check in plan.checks if check.dry_run):
        told.append(f"only shown: {dry}")
    return "\n".join(told)


def _deferral(route: Route) -> str:
    policy = route.deferral
    if policy is None:
        return "none: the student's answers are served, however unsure it is of them"
    held = route.fallback.mid_stream is MidStream.HOLD
    what = f"and streams, after {route.fallback.hold} tokens" if held else "but no streams (mid_stream: hold:N)"
    told = [f"chat and completions, {what}"]
    measured = f"the {100 * policy.quantile:g} % quantile of the tokens' log-probabilities"
    if policy.threshold is None:
        told.append(f"{measured} is noted; nothing is deferred: threshold is not set")
        return "\n".join(told)
    told.append(f"the teacher answers instead if {measured} is below {policy.threshold:g}, or the student tells none")
    if policy.min_tokens > 1:
        told.append(f"answers of fewer than {policy.min_tokens} tokens are served as they are")
    net = ", and within the net's caps" if route.risk is not None and route.risk.net is not None else ""
    told.append(
        f"at most {policy.max_concurrent} at once, per worker{net}; beyond, or if it fails: the student's answer"
    )
    return "\n".join(told)


def _deadlines(deadlines: Deadlines) -> str:
    return (
        f"connect {_seconds(deadlines.connect_s)}, first token {_seconds(deadlines.ttft_s)}, "
        f"stall {_seconds(deadlines.stall_s)}, total {_seconds(deadlines.total_s)};\n"
        f"whole answer {_seconds(deadlines.answer_s)} while another could be asked"
    )


def _order(route: Route, primary: Role) -> str:
    names = [candidate.upstream for candidate in route.plans[primary]]
    return ", then ".join(names if len(names) > 1 else [*names, "nobody"])


def _retries(retries: int) -> str:
    if not retries:
        return "none: the next is asked at once"
    return f"{retries} of the same upstream, after no connection, 5xx or 429; never after silence"


def _mid_stream(mid_stream: str, hold: int) -> str:
    if mid_stream == "error":
        return "error: a stream that breaks ends with an error"
    if hold:
        return f"{mid_stream}: a failure within the first {hold} tokens is not seen; later a stream ends with an error"
    return "continue: a stream that breaks is continued by another, or ends with an error"


def _hedge(after_s: float | str | None) -> str:
    if after_s is None:
        return "off"
    wait = "the primary's p95" if after_s == "p95" else f"{after_s:g} s"
    return f"without a first token after {wait} the next is asked too; the first to answer is served, both are paid for"


def _verify(verify: config.VerifyConfig) -> str:
    kinds = {"json": verify.json_, "schema": verify.schema_, "tools": verify.tools}
    checked = ", ".join(kind for kind, wanted in kinds.items() if wanted)
    if not checked:
        return "off"
    served = "the last is served as it came" if verify.on_fail == "fallback" else "an error is served"
    return f"{checked}: whole answers, if the request asks; one that fails: the next is asked; if all fail, {served}"


def _capture(capture: config.CaptureConfig | None) -> str:
    if capture is None:
        return "off: nothing that is said is kept"
    consent = f"with consent to {' and '.join(capture.consent)}" if capture.consent else "without asking for consent"
    most = "no limit" if capture.max_bytes is None else _bytes(capture.max_bytes)
    return (
        f"{100 * capture.sample:g} % of requests and their answers, {consent};\n"
        f"{100 * capture.disagreement:g} % of known disagreements, {100 * capture.fallback:g} % of fallbacks;\n"
        f"in {capture.dir}, {'encrypted' if capture.encrypt_key else 'readable'}, "
        f"for {capture.retention_days:g} days, at most {most}"
    )


def _risk(risk: RouteRisk | None) -> str:
    if risk is None:
        return "off: no request is looked at"
    model = "no policy model" if risk.model is None else f"the policy model {risk.model.name}.{risk.model.version}"
    header = "what callers say in x-risk" if risk.trust_header else "nothing that callers say"
    return f"{len(risk.pack.rules)} rules of {risk.pack.title}, {model}, {header}"


def _safety_net(net: SafetyNet | None) -> str:
    if net is None:
        return "none: all high risk goes to the teacher, or to the student while the teacher is down"
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC") for at in (net.start_s, net.end_s))
    how = ", ".join(f"{100 * step:g} %" for step in net.steps) if net.decay is Decay.STEPS else net.decay.value
    always = f"; always: {', '.join(sorted(net.always))}" if net.always else ""
    least = "no limit" if net.max_concurrent is None else f"{net.max_concurrent} at once per worker"
    most = "no limit" if net.max_nano_usd_per_day is None else f"{net.max_nano_usd_per_day / NANO_USD_PER_USD:g} USD"
    down = "503" if net.teacher_down is TeacherDown.REFUSE else "the student answers"
    return (
        f"{100 * net.p_start:g} % of high risk to the teacher until {start}, "
        f"{100 * net.floor:g} % from {end} ({how});\n"
        f"{100 * net.holdout:g} % of sessions held out{always};\n"
        f"calls: {least}; a day: {most}; with the teacher down: {down}"
    )


def _upstream(upstream: config.UpstreamConfig) -> Facts:
    several = len(upstream.urls) > 1
    yield ("base_urls" if several else "base_url"), "\n".join(upstream.urls)
    if several:
        prefix = "by how a conversation begins, for its prefix cache; else the one with less to do"
        yield "affinity", f"prefix: {prefix}" if upstream.affinity == "prefix" else "none: the one with less to do"
    yield "model", upstream.model
    yield "api_key", "set" if upstream.api_key else "none"
    price = upstream.price
    cached = price.input if price.cached_input is None else price.cached_input
    yield "price", f"USD per 1M tokens: {price.input:f} in, {cached:f} in from the cache, {price.output:f} out"
    yield "context_tokens", "not known" if upstream.context_tokens is None else f"{upstream.context_tokens:,}"
    yield "tools", "yes" if upstream.tools else "no: passed over as a fallback for requests with tools"
    yield "vision", "yes" if upstream.vision else "no: passed over as a fallback for requests with images"
    yield "continues", _CONTINUES[upstream.continues]
    limits = upstream.limits
    waiting = f", {limits.queue} more wait for up to {_seconds(limits.queue_s)}" if limits.queue else ", none waits"
    yield "limits", f"per worker {limits.concurrency} calls at once{waiting}; beyond: busy, 503"
    breaker = upstream.breaker
    checks = "1 good check" if breaker.probe == 1 else f"{breaker.probe} good checks in a row"
    yield (
        "breaker",
        f"opens when {100 * breaker.failure_ratio:g} % of {breaker.min_requests} calls or more failed within "
        f"{_seconds(breaker.window_s)}; ends after {_seconds(breaker.open_s)} and {checks}",
    )
    health = upstream.health
    when = "only to end an open breaker" if health.every_s is None else f"every {_seconds(health.every_s)}"
    yield "health", f"GET {health.path} {when}, {_seconds(health.timeout_s)} to answer"


def _edge(limits: config.LimitsConfig) -> Facts:
    more = {"body_s": ", and 1 s more for every 64 KiB", "connections": ", and at most half of what `ulimit -n` allows"}
    for name, value in limits:
        told = _bytes(value) if name.endswith("_bytes") else _seconds(value) if name.endswith("_s") else f"{value:,}"
        yield name, told + more.get(name, "")


def _seconds(value: float) -> str:
    return f"{value:g} s"


def _bytes(value: int) -> str:
    """In the largest unit that is exact."""
    for size, unit in ((1024 * 1024, "MiB"), (1024, "KiB")):
        if value % size == 0:
            return f"{value // size} {unit}"
    return f"{value:,} bytes"
