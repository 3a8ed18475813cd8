"""Labelled texts: topics, events, and neither."""

import pytest

from router_policies.risk.topics import EVENTS, LEXICONS, TOPICS
from router_policies.risk.words import Words
from tests.router_policies.risk.labelled import lines

CASES = lines("topics")


def found(text: str) -> frozenset[str]:
    return LEXICONS.find(Words.of(text)) & (TOPICS | EVENTS)


@pytest.mark.parametrize("case", [case for case in CASES if not case["known"]], ids=lambda case: case["text"][:40])
def test_a_topic_is_found_and_no_other_text_has_one(case: dict[str, str]) -> None:
    assert case["topic"] in found(case["text"]) if case["topic"] else not found(case["text"])


def test_what_is_known_to_go_wrong_is_labelled_so() -> None:
    for case in (case for case in CASES if case["known"]):
        assert (case["topic"] in found(case["text"])) is (case["known"] == "false_alarm"), case["text"]


def test_there_are_cases_of_every_topic() -> None:
    assert {case["topic"] for case in CASES if not case["known"]} - {""} == TOPICS | EVENTS
