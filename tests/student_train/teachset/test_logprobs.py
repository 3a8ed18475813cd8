"""What endpoints tell of tokens, and the mass that they leave out."""

from math import exp, fsum, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from student_train.teachset.logprobs import LEAST, LEAST_TAIL, read_logprobs, tail, total


def _item(token: str, p: float, top: dict[str, float], raw: list[int] | None = None) -> dict[str, object]:
    def one(name: str, mass: float) -> dict[str, object]:
        return {"token": name, "logprob": log(mass)}

    return {**one(token, p), "bytes": raw, "top_logprobs": [one(name, mass) for name, mass in top.items()]}


def _choice(*items: object) -> dict[str, object]:
    return {"logprobs": {"content": list(items)}}


def test_the_tail_is_what_neither_the_token_nor_the_others_have() -> None:
    (position,) = read_logprobs(_choice(_item("a", 0.5, {"a": 0.5, "b": 0.25, "c": 0.125})))
    assert position.token == "a"
    assert [candidate.token for candidate in position.top] == ["b", "c"]  # the token itself is not told twice
    assert exp(position.tail) == pytest.approx(0.125, rel=1e-4)


def test_a_sampled_token_that_is_not_among_the_likeliest_counts_too() -> None:
    (position,) = read_logprobs(_choice(_item("z", 0.1, {"b": 0.5, "a": 0.25})))
    assert [candidate.token for candidate in position.top] == ["b", "a"]
    assert exp(position.tail) == pytest.approx(0.15, rel=1e-4)


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=30))
def test_all_mass_sums_to_one(parts: list[float]) -> None:
    masses = [part / sum(parts) for part in parts]
    told = [log(mass) for mass in masses[1:]]
    assert fsum(map(exp, told)) + exp(tail(told)) == pytest.approx(1, abs=2e-7)


def test_rounding_above_one_and_infinity_stay_finite() -> None:
    assert tail([0.0, 0.0]) == LEAST_TAIL
    (position,) = read_logprobs(
        _choice({"token": "a", "logprob": None, "top_logprobs": [{"token": "b", "logprob": 0.01}]})
    )
    assert position.logprob == LEAST
    assert position.top[0].logprob == 0.0


def test_a_part_of_a_character_is_told_by_its_bytes() -> None:
    first, second = read_logprobs(_choice(_item("\ufffd", 0.5, {}, [0xF0, 0x9F]), _item("é", 0.5, {}, [0xC3, 0xA9])))
    assert (first.token, second.token) == ("<0xF0><0x9F>", "é")


@pytest.mark.parametrize(
    "choice", [{}, {"logprobs": None}, {"logprobs": {"content": None}}, _choice({"no": 1}), _choice("text")]
)
def test_what_is_not_there_or_of_another_form_is_none(choice: dict[str, object]) -> None:
    assert read_logprobs(choice) == ()


def test_the_log_probability_of_an_answer_is_the_sum() -> None:
    assert exp(total(read_logprobs(_choice(_item("a", 0.5, {}), _item("b", 0.25, {}))))) == pytest.approx(
        0.125, rel=1e-3
    )
