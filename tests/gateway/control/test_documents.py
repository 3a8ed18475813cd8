"""The arithmetic of overlays, by its laws: over documents that Hypothesis makes up."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.control.documents import (
    MASK,
    SET,
    diff,
    exact,
    hidden,
    inverse,
    is_deleted,
    lay,
    lay_all,
    leaves,
    merge,
    path_of,
    pointer,
    raw,
    schedule,
    undone,
    unmasked,
)
from gateway.stores.protocols import Key, Undo

NAMES = st.sampled_from(["a", "b", "c", "a/b", "~0", ""])
VALUES = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["x", 1.0, 0.5]) | st.lists(st.integers(0, 2))


def documents(values: st.SearchStrategy[Any] = VALUES) -> st.SearchStrategy[dict[str, Any]]:
    nested = st.recursive(values, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3), max_leaves=6)
    return st.dictionaries(NAMES, nested, max_size=4)


DOCUMENTS = documents()
SOMETHING = DOCUMENTS.filter(bool)


def differs(one: Any, other: Any) -> bool:
    return bool(diff({"it": one}, {"it": other}))


@given(DOCUMENTS, documents(VALUES.filter(lambda value: value is not None)))
def test_a_merge_patch_sets_what_it_names_and_leaves_the_rest(overlay: dict[str, Any], patch: dict[str, Any]) -> None:
    after = merge(overlay, patch)
    for path, value in leaves(patch):
        found: Any = after
        for key in path:
            found = found[key]
        assert not differs(found, value)
    untouched = {key: value for key, value in overlay.items() if key not in patch}
    assert untouched == {key: value for key, value in after.items() if key not in patch}
    assert not differs(merge(after, patch), after)


@given(DOCUMENTS)
def test_a_null_takes_a_key_out_and_leaves_no_empty_mapping(overlay: dict[str, Any]) -> None:
    def nulls(document: dict[str, Any]) -> dict[str, Any]:
        return {key: nulls(value) if isinstance(value, dict) else None for key, value in document.items()}

    assert merge(overlay, nulls(overlay)) == {}


def test_merge_patch_as_rfc_7396_has_it() -> None:
    cases: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [  # appendix A, those between objects
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ]
    for target, patch, result in cases:
        assert merge(target, patch) == result


@given(st.none() | DOCUMENTS, SOMETHING)
def test_put_makes_it_exactly_what_was_given(ground: dict[str, Any] | None, wanted: dict[str, Any]) -> None:
    overlay = exact(ground, wanted, {})
    assert not differs(lay(ground, overlay), wanted)
    for path, _ in leaves(overlay):  # and it holds no more than the difference
        kept = {where: value for where, value in leaves(overlay) if where != path}
        assert differs(lay(ground, _tree(kept)), wanted), path


def _tree(found: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    return undone({}, {pointer(path): [value] for path, value in found.items()})


@given(DOCUMENTS, SOMETHING)
def test_what_is_spelled_out_but_usual_is_no_difference(ground: dict[str, Any], usual: dict[str, Any]) -> None:
    assert exact(ground, {**usual, **ground}, {**usual, **ground}) == {}


@given(DOCUMENTS, DOCUMENTS)
def test_the_inverse_undoes(before: dict[str, Any], after: dict[str, Any]) -> None:
    back = inverse(before, after)
    assert not differs(undone(after, back), before)
    assert (back == {}) is not differs(before, after)


@given(st.lists(st.text()).map(tuple).filter(bool))
def test_pointers_name_any_path(path: tuple[str, ...]) -> None:
    assert path_of(pointer(path)) == path


def test_one_is_not_true() -> None:
    assert diff({"a": 1}, {"a": True}) == [(("a",), 1, True)]
    assert diff({"a": 1}, {"a": 1.0}) == []
    assert diff({"a": None}, {}) == [(("a",), None, None)]


def test_deleted_takes_out_a_key_or_all_of_it() -> None:
    assert lay({"a": 1}, {"deleted": True}) is None
    assert lay({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": {"deleted": True}}}) == {"a": 1, "b": {"d": 2}}
    assert lay({"a": 1, "b": {"c": 1}}, {"b": {"c": {"deleted": True}}}) == {"a": 1}
    assert lay(None, {}) is None
    assert not is_deleted({"deleted": 1})
    assert not is_deleted({"deleted": True, "a": 1})


def test_a_null_and_a_list_replace() -> None:
    assert lay({"a": 1, "b": [1, 2]}, {"a": None, "b": [3]}) == {"a": None, "b": [3]}


# What takes itself back.

UNTIL = st.floats(1, 100)
PLANS = st.lists(st.tuples(UNTIL, SOMETHING), max_size=3)


def apply_due(overlay: dict[str, Any], pending: tuple[Undo, ...], now: float) -> dict[str, Any]:
    for undo in sorted(pending, key=lambda one: one.at):
        if undo.at <= now:
            overlay = undone(overlay, undo.patch)
    return overlay


@given(DOCUMENTS, SOMETHING, UNTIL)
def test_a_change_with_a_ttl_ends_as_if_it_had_not_been(
    before: dict[str, Any], patch: dict[str, Any], until: float
) -> None:
    after = merge(before, patch)
    touched = [path for path, _ in leaves(patch)]
    undo = schedule((), before, after, touched, until, 7)
    assert all((one.at, one.version) == (until, 7) for one in undo)
    assert not differs(apply_due(after, undo, until), before)


@given(DOCUMENTS, SOMETHING, UNTIL, SOMETHING)
def test_a_later_decision_stands_and_the_rest_ends(
    before: dict[str, Any], first: dict[str, Any], until: float, second: dict[str, Any]
) -> None:
    once = merge(before, first)
    undo = schedule((), before, once, [path for path, _ in leaves(first)], until, 1)
    twice = merge(once, second)
    touched = [path for path, _ in leaves(second)]
    left = schedule(undo, once, twice, touched, None, 2)
    ended = apply_due(twice, left, until)
    found, decided = dict(leaves(ended)), dict(leaves(second))
    for path, value in decided.items():
        if value is None:
            assert path not in found
        else:
            assert path in found
            assert not differs(found[path], value)
    ways = [path[0] for path in touched]
    for key in {*before, *ended} - set(ways):
        assert (key in ended) is (key in before)
        assert not differs(ended.get(key), before.get(key))


def planned(now: float, *steps: tuple[dict[str, Any], float | None]) -> tuple[dict[str, Any], tuple[Undo, ...]]:
    """An overlay after some changes of it, each (patch, until)."""
    overlay: dict[str, Any] = {}
    undo: tuple[Undo, ...] = ()
    for version, (patch, until) in enumerate(steps, start=1):
        after = merge(overlay, patch)
        undo = schedule(undo, overlay, after, [path for path, _ in leaves(patch)], until, version)
        overlay = after
    return apply_due(overlay, undo, now), undo


def test_a_short_change_within_a_longer_one_gives_way_to_it() -> None:
    steps = (({"p": 50}, 60.0), ({"p": 80}, 5.0))
    assert [planned(now, *steps)[0] for now in (1, 10, 70)] == [{"p": 80}, {"p": 50}, {}]


def test_a_longer_change_after_a_shorter_one_is_not_cut_short_by_it() -> None:
    steps = (({"p": 50}, 5.0), ({"p": 80}, 60.0))
    assert [planned(now, *steps)[0] for now in (10, 70)] == [{"p": 80}, {}]
    assert len(planned(0, *steps)[1]) == 1


def test_saying_the_same_again_without_a_ttl_makes_it_stand() -> None:
    assert planned(70, ({"p": 50, "q": 1}, 60.0), ({"p": 50}, None))[0] == {"p": 50}


def test_what_is_below_or_above_a_leaf_is_the_same_decision() -> None:
    assert planned(70, ({"d": {"x": 1, "y": 2}}, 60.0), ({"d": 5}, None))[0] == {"d": 5}
    assert planned(70, ({"d": 5}, 60.0), ({"d": {"x": 1}}, None))[0] == {"d": {"x": 1}}


# The whole config.


def test_everything_is_laid_over_its_place() -> None:
    ground = {
        "routes": {"a": {"p": 1}, "b": {"p": 2}},
        "upstreams": {"u": {"model": "m"}},
        "keys": [{"name": "one", "role": "app"}, {"name": "two", "role": "admin"}],
        "listen": "here",
    }
    content = lay_all(
        ground,
        {
            Key("route", "c"): {"p": 3},
            Key("route", "a"): {"deleted": True},
            Key("route", "gone"): {"deleted": True},
            Key("upstream", "u"): {"price": {"input": 1}},
            Key("key", "one"): {"tenant": "x"},
            Key("key", "three"): {"role": "app"},
            Key("key", "two"): {"deleted": True},
            Key("gateway", ""): {"force": "teacher"},
        },
    )
    assert content == {
        "routes": {"b": {"p": 2}, "c": {"p": 3}},
        "upstreams": {"u": {"model": "m", "price": {"input": 1}}},
        "keys": [{"name": "one", "role": "app", "tenant": "x"}, {"role": "app", "name": "three"}],
        "listen": "here",
        "force": "teacher",
    }
    assert ground["routes"] == {"a": {"p": 1}, "b": {"p": 2}}  # as it was
    assert raw(content, Key("key", "one")) == {"role": "app", "tenant": "x"}
    assert raw(content, Key("gateway", "")) == {"force": "teacher"}


def test_secrets_are_hidden_and_come_back_as_they_were() -> None:
    key = {"name": "a", "key": "literal", "key_sha256": "5e88"}
    assert hidden("key", key) == {"name": "a", "key": MASK, "key_sha256": SET}
    assert unmasked("key", hidden("key", key), key) == key
    assert hidden("upstream", {"api_key": "${X}", "key": "no secret here"}) == {
        "api_key": "${X}",
        "key": "no secret here",
    }
    assert unmasked("upstream", {"api_key": MASK}, {}) == {"api_key": MASK}
