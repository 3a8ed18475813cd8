"""What a change comes to, in words: what somebody should have read before it is made. Pure.

Documents are whole effective ones, or None for one that is not in service.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.control.documents import diff
from gateway.stores.protocols import Document, Key, Undo

_DRAWN_BY = ("salt", "sticky")
_BY_RISK = ("risk", "safety_net")


def consequences(key: Key, before: Document | None, after: Document | None, actor: str, undo: Undo | None) -> list[str]:
    """`undo` is how the change ends by itself, if it does."""
    if not diff(before, after):
        return ["Nothing changes."]
    said = list(_said(key, before, after, actor))
    if undo is not None:
        said.append(f"This is taken back by itself at {_clock(undo.at)}.")
    return said


def percent(value: float) -> str:
    return f"{round(value, 4):.6g} %"


def _said(key: Key, before: Document | None, after: Document | None, actor: str) -> Iterator[str]:
    if key.kind == "route":
        yield from _route(key.name, before, after)
    elif key.kind == "upstream":
        yield from _upstream(key.name, before, after)
    elif key.kind == "key":
        yield from _key(key.name, before, after, actor)
    else:
        yield from _kill("every route", (before or {}).get("force"), (after or {}).get("force"))


def _route(name: str, before: Document | None, after: Document | None) -> Iterator[str]:
    if after is None:
        yield f"Apps that ask for {name} get 404 (model_not_found); requests under way are finished."
        return
    if before is None:
        yield f"Apps can ask for {name}: {_shares(after)}."
        if after["force"] is not None:
            yield from _kill(name, None, after["force"])
        return
    changed = {path[0] for path, _, _ in diff(before, after)}
    yield from _kill(name, before["force"], after["force"])
    if changed & {"student_percent", *_DRAWN_BY}:
        if after["force"] is not None:
            yield f"As long as the kill switch is on, everything goes to the {after['force']} all the same; then:"
        yield _moves(before, after, redrawn=bool(changed & set(_DRAWN_BY)))
    for role in ("teacher", "student"):
        if role in changed:
            yield (
                f"What goes to the {role} is answered by {after[role]} instead of {before[role]}, "
                "in sessions under way too."
            )
    if "deadlines" in changed:
        times = ", ".join(
            f"{path[1]} {old:g} -> {new:g}" for path, old, new in diff(before, after) if path[0] == "deadlines"
        )
        yield f"Requests that come from now on have other deadlines: {times}."
    if "fallback" in changed:
        yield "Requests that come from now on are retried and handed on by the new fallback rules."
    if "max_step" in changed:
        yield f"One change may raise student_percent by {after['max_step']:g} points."
    if changed & set(_BY_RISK):
        yield "Requests that come from now on are judged anew: risky ones may change sides. The split stays."
    told = {"student_percent", "force", "teacher", "student", "deadlines", "fallback", "max_step"}
    if other := sorted(changed - told - {*_DRAWN_BY, *_BY_RISK}):
        yield f"Requests that come from now on are handled by the new {', '.join(other)}."
    if not changed & {"student_percent", *_DRAWN_BY, *_BY_RISK, "force"}:
        yield "No session changes sides."


def _shares(route: Document) -> str:
    share = route["student_percent"]
    return f"{percent(share)} of sessions go to {route['student']}, the others to {route['teacher']}"


def _moves(before: Document, after: Document, redrawn: bool) -> str:
    old, new = before["student_percent"], after["student_percent"]
    if redrawn:  # two independent draws
        there, back = (100 - old) * new / 100, old * (100 - new) / 100
        return (
            f"All sessions are drawn anew: about {percent(there + back)} change sides, "
            f"{percent(there)} from teacher to student and {percent(back)} from student to teacher."
        )
    moved = f"about {percent(abs(new - old))} of sessions move"
    if new > old:
        return f"{moved[0].upper()}{moved[1:]} from teacher to student; nobody moves back."
    return f"{moved[0].upper()}{moved[1:]} from student to teacher, those who came last; nobody moves the other way."


def _kill(what: str, before: str | None, after: str | None) -> Iterator[str]:
    if before == after:
        return
    everything = "Everything" if what == "every route" else f"Everything that asks for {what}"
    if after is None:
        yield f"The kill switch of {what} ends: the split and the policies decide again, each session is where it was."
    else:
        yield f"{everything} goes to the {after}, whatever split and policies say, from the next request on."


def _upstream(name: str, before: Document | None, after: Document | None) -> Iterator[str]:
    if after is None:
        yield f"{name} is asked no more; calls under way are finished."
        return
    if before is None:
        yield f"Routes can name {name}; none is asked for it by this alone."
        return
    changed = {path[0] for path, _, _ in diff(before, after)}
    if changed & {"base_url", "base_urls"}:
        urls = after["base_urls"] or [after["base_url"]]
        yield f"New calls of {name} go to {', '.join(urls)}, on new connections."
    if "model" in changed:
        yield f"It is asked for the model {after['model']} instead of {before['model']}."
    if "api_key" in changed:
        yield f"It is called with another API key: {after['api_key'] or 'none'}."
    if "price" in changed:
        yield "What it costs is counted by the new price from now on; what was counted stays."
    if other := sorted(changed - {"base_url", "base_urls", "model", "api_key", "price"}):
        yield f"New calls of it follow the new {', '.join(other)}."
    yield "Calls under way are finished as they began; its breaker and its queue begin anew."


def _key(name: str, before: Document | None, after: Document | None, actor: str) -> Iterator[str]:
    if name == actor:
        yield "This is the key that you are using."
    if after is None:
        yield f"Who uses the key {name} gets 401 (invalid_api_key)."
        return
    if before is None:
        yield f"Who has the key {name} may call models{', and change everything here' * (after['role'] == 'admin')}."
        return
    changed = {path[0] for path, _, _ in diff(before, after)}
    if changed & {"key", "key_sha256"}:
        yield "Who has the old key gets 401 (invalid_api_key) from now on."
    if "role" in changed:
        may = "may change everything here" if after["role"] == "admin" else "may call models, and change nothing"
        yield f"Who has it {may}."
    if "tenant" in changed:
        yield f"What it uses is counted for {after['tenant']} instead of {before['tenant']}."
    if "limits" in changed:
        yield "Its budget begins anew, with the new limits."


def _clock(at: float) -> str:
    """RFC 3339, for people."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
