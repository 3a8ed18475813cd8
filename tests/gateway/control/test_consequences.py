"""What a change comes to, in words."""

from typing import Any

import pytest

from gateway.config import RouteConfig
from gateway.control.consequences import consequences
from gateway.stores.protocols import Key, Undo

CHAT = Key("route", "chat")


def route(**changed: Any) -> dict[str, Any]:
    base = RouteConfig.model_validate({"teacher": "big", "student": "small", "student_percent": 5.0, **changed})
    return base.model_dump(by_alias=True)


def said(before: dict[str, Any] | None, after: dict[str, Any] | None, undo: Undo | None = None) -> str:
    return " ".join(consequences(CHAT, before, after, "sre", undo))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, "Nothing changes."),
        ({"student_percent": 25.0}, "About 20 % of sessions move from teacher to student; nobody moves back."),
        (
            {"student_percent": 0.5},
            "About 4.5 % of sessions move from student to teacher, those who came last; nobody moves the other way.",
        ),
        (
            {"salt": "again"},  # 2 * 0.05 * 0.95
            "All sessions are drawn anew: about 9.5 % change sides, 4.75 % from teacher to student and 4.75 % from "
            "student to teacher.",
        ),
        (
            {"sticky": ["user"], "student_percent": 50.0},  # 0.95 * 0.5 and 0.05 * 0.5
            "All sessions are drawn anew: about 50 % change sides, 47.5 % from teacher to student and 2.5 % from "
            "student to teacher.",
        ),
        (
            {"force": "teacher"},
            "Everything that asks for chat goes to the teacher, whatever split and policies say, from the next request "
            "on.",
        ),
        (
            {"force": "teacher", "student_percent": 25.0},
            "Everything that asks for chat goes to the teacher, whatever split and policies say, from the next request "
            "on. As long as the kill switch is on, everything goes to the teacher all the same; then: About 20 % of "
            "sessions move from teacher to student; nobody moves back.",
        ),
        (
            {"student": "tiny"},
            "What goes to the student is answered by tiny instead of small, in sessions under way too. No session "
            "changes sides.",
        ),
        (
            {"deadlines": {"ttft_s": 5.0}},
            "Requests that come from now on have other deadlines: ttft_s 20 -> 5. No session changes sides.",
        ),
    ],
)
def test_routes(changed: dict[str, Any], expected: str) -> None:
    assert said(route(), route(**changed)) == expected


def test_a_route_begins_and_ends() -> None:
    assert said(None, route()) == "Apps can ask for chat: 5 % of sessions go to small, the others to big."
    assert said(route(), None) == "Apps that ask for chat get 404 (model_not_found); requests under way are finished."
    ended = said(route(force="teacher"), route())
    assert ended == (
        "The kill switch of chat ends: the split and the policies decide again, each session is where it was."
    )


def test_it_says_when_it_ends_by_itself() -> None:
    undo = Undo(1_791_187_500.0, {"/student_percent": []}, 1)
    assert said(route(), route(student_percent=6.0), undo).endswith(
        "This is taken back by itself at 2026-10-05 08:05:00 UTC."
    )


def test_every_key_of_a_route_is_told() -> None:
    """A key that somebody adds to routes later is not passed over in silence."""
    for name in route():
        other = {"student_percent": 40.0, "max_step": 40.0, "deadlines": route(deadlines={"ttft_s": 5.0})["deadlines"]}
        after = {**route(), name: other.get(name, "another")}
        assert said(route(), after) not in ("Nothing changes.", "No session changes sides."), name


def test_keys_and_upstreams() -> None:
    key = Key("key", "sre")
    old = {"name": "sre", "tenant": "ops", "role": "admin", "key": "${A}", "key_sha256": None, "limits": {"x": None}}
    said = consequences(key, old, {**old, "role": "app", "key": "${B}"}, "sre", None)
    assert said[0] == "This is the key that you are using."
    assert "Who has the old key gets 401 (invalid_api_key) from now on." in said
    assert "Who has it may call models, and change nothing." in said
    upstream = Key("upstream", "big")
    before = {"base_url": "http://a/v1", "base_urls": [], "model": "m", "api_key": None, "price": {"input": 1}}
    after = {**before, "base_url": None, "base_urls": ["http://b/v1"], "api_key": "${K}", "price": {"input": 2}}
    words = " ".join(consequences(upstream, before, after, "sre", None))
    for expected in ("go to http://b/v1", "another API key: ${K}", "by the new price"):
        assert expected in words
