"""A rollout as it is kept in the store: one note for each route, with its state and its book, and what is needed to
take back what it has set. Read and written by compare-and-swap, so that it does not matter who does, nor how many."""

import logging
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.rollout.situation import Situation
from gateway.stores.pairs import PairStore
from gateway.stores.protocols import Note, Store
from router_policies.rollout.book import Book
from router_policies.rollout.state import State
from router_policies.rollout.step import changed

_BATCH, _BATCHES = 1000, 10
_log = logging.getLogger(__name__)


class Mirrored(msgspec.Struct, frozen=True):
    """The probability of being mirrored that the rollout has set, or is about to (`done`: it was seen to be live), and
    what lay over the config file before, None for nothing."""

    sample: float
    before: float | None
    done: bool = False


class _Text(msgspec.Struct):
    state: dict[str, Any]
    book: dict[str, Any]
    announced: int = 0
    mirrored: Mirrored | None = None


@dataclass(slots=True)
class Saved:
    """Mutable state of who leads: a rollout, as of the records that it has taken in. `version`, `text`: of its note.
    `announced`: the last transition that is known to be in the trail; from another leader that may be one too few."""

    version: int
    text: str
    state: State
    book: Book
    announced: int = 0
    mirrored: Mirrored | None = None


def load(store: Store, pairs: PairStore, here: Situation, now: float) -> Saved:
    """The rollout of a route as it was saved, or a new one. Raises `StoreError`."""
    newest = next((kept.number for kept in pairs.newest(here.route, limit=1)), 0)
    note = store.noted(name_of(here.route))
    if note is None:
        return Saved(0, "", State(), Book(here.key, here.plan, newest, revision=here.revision))
    text = msgspec.json.decode(note.text, type=_Text)
    state, book = _resumed(text, here, newest, now)
    saved = Saved(note.version, note.text, state, book, text.announced, text.mirrored)
    if newest < text.book.get("counted", 0):
        _skip(saved, here, newest, now, f"{newest} records are kept, where there were more")
    return saved


def save(store: Store, route: str, saved: Saved) -> bool:
    """False: somebody else has written since; what is in memory is worth nothing then. Raises `StoreError`."""
    text = _Text(saved.state.plain(), saved.book.plain(), saved.announced, saved.mirrored)
    encoded = msgspec.json.encode(text).decode()
    if encoded == saved.text:  # nothing is news here; but it may be elsewhere
        return store.noted(name_of(route)) == Note(saved.version, saved.text)
    if not store.note(name_of(route), Note(saved.version + 1, encoded)):
        return False
    saved.version, saved.text = saved.version + 1, encoded
    return True


def catch_up(pairs: PairStore, saved: Saved, here: Situation, now: float) -> bool:
    """Take in the records that were filed since. False: there are more of them. Raises `StoreError`."""
    for _ in range(_BATCHES):
        found = pairs.records(here.route, saved.book.number, _BATCH)
        for kept in found:
            if kept.number > saved.book.number + 1:
                why = f"records {saved.book.number + 1} to {kept.number - 1} are no longer kept"
                _skip(saved, here, kept.number - 1, now, why)
            saved.book.observe(kept.number, kept.record)
        if len(found) < _BATCH:
            return True
    return False


def name_of(route: str) -> str:
    """Of the note."""
    return f"rollout:{route}"


def _skip(saved: Saved, here: Situation, number: int, now: float, why: str) -> None:
    """What the records up to this one said is not known: evidence begins anew after them."""
    _log.warning("rollout of %s: %s", here.route, why)
    saved.state = changed(saved.state, why, now)
    saved.book = saved.book.anew(here.key, here.plan, saved.state.round, here.revision, number)


def _resumed(text: _Text, here: Situation, newest: int, now: float) -> tuple[State, Book]:
    """What an older or newer version has written and this one cannot read begins anew, as another attempt."""
    try:
        state = State.resume(text.state)
    except (ValueError, KeyError) as error:
        _log.error("rollout of %s: %s", here.route, error)
        state = State()
    try:
        return state, Book.resume(text.book, here.plan)
    except (ValueError, KeyError) as error:
        state = changed(state, str(error), now)
        book = Book(here.key, here.plan, newest, state.round, here.revision)
        book.evidence.attempt = text.book.get("evidence", {}).get("attempt", 0) + 1
        return state, book
