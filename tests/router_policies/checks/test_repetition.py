"""Labelled answers: loops, and what repeats itself for a reason."""

from random import Random
from time import process_time

import pytest

from router_policies.checks.check import Outcome
from router_policies.checks.repetition import make
from tests.router_policies.checks.saying import agreed, asks, judged, outcome, says

CHECK = make({})
WORDS = (
    "the",
    "a",
    "of",
    "order",
    "we",
    "you",
    "can",
    "will",
    "please",
    "check",
    "account",
    "refund",
    "delivery",
    "is",
    "are",
    "it",
    "this",
    "that",
    "and",
    "to",
)
PROSE = " ".join(Random(3).choices(WORDS, k=300))
SENTENCE = "I am sorry for the inconvenience this has caused you. "
PARAGRAPH = "\n".join(" ".join(Random(number).choices(WORDS, k=12)) for number in range(4)) + "\n\n"

LOOPS = {
    "a sentence": SENTENCE * 4,
    "a sentence after prose": PROSE + " " + SENTENCE * 6,
    "a sentence that is cut at the end": SENTENCE * 5 + "I am sorry for",
    "a sentence in the middle": PROSE + " " + SENTENCE * 5 + "Well then. " + PROSE[::-1],
    "one word": "very " * 40,
    "two words": "yes indeed " * 20,
    "a paragraph": PARAGRAPH * 5,
    "lines": "- Check the cable.\n" * 10,
    "case changes": "Please wait a moment. please WAIT a moment. " * 4,
    "characters": "ha" * 60,
    "no spaces": "请稍等一下。" * 12,
    "a phrase with a phrase in it": "to be or not to be that is to be " * 8,
}
NO_LOOPS = {
    "nothing much": "OK.",
    "prose": PROSE,
    "a sentence three times": SENTENCE * 3,
    "a short refrain": "no no no no",
    "a list that goes on": "\n".join(f"- Check cable number {number}." for number in range(40)),
    "a table": "| name | price |\n|---|---|\n" + "\n".join(f"| item {at} | {at * 3} EUR |" for at in range(30)),
    "a rule": "-" * 200 + "\n" + "= " * 100,
    "zeros": "0 " * 100,
    "rows of numbers": "0, 0, 0, 1,\n" * 20,
    "code": "\n".join(f'    "{word}": [{at}, None, None],' for at, word in enumerate(WORDS)),
    "JSON": "[" + ", ".join(f'{{"id": {at}, "name": "x", "tags": []}}' for at in range(40)) + "]",
    "a chorus": "\n".join(f"Verse {at} tells of day {at}.\nOh the sea, the sea, the sea!\n" for at in range(6)),
    "a long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "a key": "sk_live_4eC39HqLyjWDarjtT1zdp7dcTYooMQauvdEDq54NiTphI7jx",
}


@pytest.mark.parametrize("name", LOOPS)
def test_loops(name: str) -> None:
    found = judged(CHECK, asks(), says(LOOPS[name]))
    assert found.outcome is Outcome.FAIL
    assert found.evidence.startswith("loop: ")


@pytest.mark.parametrize("name", NO_LOOPS)
def test_no_loops(name: str) -> None:
    assert outcome(CHECK, asks(), says(NO_LOOPS[name])) is Outcome.PASS


def test_the_evidence_counts() -> None:
    assert judged(CHECK, asks(), says(SENTENCE * 6)).evidence == "loop: 10 words, 6 times"


def test_how_often_is_an_option() -> None:
    assert outcome(make({"times": 3}), asks(), says(SENTENCE * 3)) is Outcome.FAIL
    assert outcome(make({"times": 7}), asks(), says(SENTENCE * 6)) is Outcome.PASS
    assert outcome(make({"chars": 10}), asks(), says("no no no no no")) is Outcome.FAIL


def test_no_text_is_not_its_business() -> None:
    assert outcome(CHECK, asks(), says("")) is Outcome.NA
    assert agreed(CHECK, asks(), says(SENTENCE * 5), says(SENTENCE * 5))
    assert not agreed(CHECK, asks(), says(SENTENCE * 5), says(SENTENCE))


@pytest.mark.parametrize(
    "text", ["a b c d " * 100_000, "ab" * 300_000, " ".join(map(str, range(100_000))), "a a b " * 99_999]
)
def test_long_answers_take_little_time(text: str) -> None:
    started = process_time()
    judged(CHECK, asks(), says(text))
    assert process_time() - started < 1
