"""The trail: whatever is done to it shows, and where."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.trail import from_document, seal, to_document, verify
from gateway.stores.protocols import NO_HASH, Change, Draft, Key, Undo

KEYS = [Key("route", "a"), Key("route", "b"), Key("gateway", "")]


def trail_of(picks: list[int]) -> list[Change]:
    changes: list[Change] = []
    versions = dict.fromkeys(KEYS, 0)
    before = NO_HASH
    for number, pick in enumerate(picks, start=1):
        key = KEYS[pick]
        versions[key] += 1
        undo = (Undo(number + 60.5, {"/student_percent": [number]}, versions[key]),) if pick else ()
        draft = Draft(key, versions[key], "change", {"student_percent": number}, undo, "sre", "why", number * 1.5)
        changes.append(seal(draft, number, before))
        before = changes[-1].hash
    return changes


TRAILS = st.lists(st.integers(0, len(KEYS) - 1), min_size=2, max_size=12).map(trail_of)


@given(TRAILS)
def test_a_trail_as_it_was_written_is_whole(changes: list[Change]) -> None:
    last = changes[-1]
    assert verify(changes) == (last.revision, last.hash)
    middle = changes[len(changes) // 2]
    assert verify(changes[middle.revision :], middle.revision, middle.hash) == (last.revision, last.hash)
    assert [from_document(to_document(change)) for change in changes] == changes


def edited(change: Change) -> Change:
    return replace(change, draft=replace(change.draft, reason="another"))


TAMPERINGS: dict[str, Callable[[list[Change], int], list[Change]]] = {
    "edit": lambda trail, at: [*trail[:at], edited(trail[at]), *trail[at + 1 :]],
    "edit and seal": lambda trail, at: [
        *trail[:at],
        seal(edited(trail[at]).draft, trail[at].revision, trail[at].before),
        *trail[at + 1 :],
    ],
    "delete": lambda trail, at: [*trail[:at], *trail[at + 1 :]],
    "delete and renumber": lambda trail, at: [
        *trail[:at],
        *(replace(change, revision=change.revision - 1) for change in trail[at + 1 :]),
    ],
    "reorder": lambda trail, at: [*trail[:at], *reversed(trail[at : at + 2]), *trail[at + 2 :]],
    "insert": lambda trail, at: [*trail[: at + 1], trail[at], *trail[at + 1 :]],
    "version": lambda trail, at: [
        *trail[:at],
        replace(trail[at], draft=replace(trail[at].draft, version=trail[at].draft.version + 1)),
        *trail[at + 1 :],
    ],
    "time": lambda trail, at: [
        *trail[:at],
        replace(trail[at], draft=replace(trail[at].draft, changed_at=0.0)),
        *trail[at + 1 :],
    ],
}


@pytest.mark.parametrize("how", TAMPERINGS)
@given(TRAILS, st.data())
def test_tampering_is_found(how: str, changes: list[Change], data: st.DataObject) -> None:
    """Not at the last entry, where sealing anew makes another trail, as long and as whole."""
    at = data.draw(st.integers(0, len(changes) - 2))
    tampered = TAMPERINGS[how](changes, at)
    with pytest.raises(ValueError, match="revision") as caught:
        verify(tampered)
    named = int(str(caught.value).partition("revision ")[2].partition(":")[0])
    assert named in (at + 1, at + 2)


@given(TRAILS, st.data())
def test_a_trail_that_was_cut_off_has_another_head(changes: list[Change], data: st.DataObject) -> None:
    left = data.draw(st.integers(0, len(changes) - 1))
    assert verify(changes[:left]) != (changes[-1].revision, changes[-1].hash)


def test_a_document_whose_first_versions_are_gone_is_found() -> None:
    """Also in a trail that was sealed anew."""
    first = seal(Draft(KEYS[0], 1, "change", {}, (), "sre", "why", 1.0), 1, NO_HASH)
    second = seal(Draft(KEYS[1], 5, "change", {}, (), "sre", "why", 1.0), 2, first.hash)
    with pytest.raises(ValueError, match="version 5 of route 'b' follows 0"):
        verify([first, second])
