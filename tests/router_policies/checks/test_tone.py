"""Brand voice: rules of tone, each with what keeps to it and what does not."""

import time
from typing import Any

import pytest

from router_policies.checks import tone
from router_policies.checks.check import Outcome
from tests.router_policies.checks.saying import asks, judged, outcome, says

PLAIN = (
    "The cat sat on the mat. It was a big mat. The dog sat too. They ate the food and then they slept all day in the "
    "sun. "
)
LEARNED = (
    "Notwithstanding considerable organisational complexities, interdepartmental communication necessitates "
    "comprehensive documentation, particularly regarding institutional accountability, regulatory requirements and "
    "professional standards, whose systematic implementation ultimately determines administrative effectiveness. "
)


@pytest.mark.parametrize(
    ("options", "good", "bad", "why"),
    [
        (
            {"openers": ["Great question"]},
            "A great question. Yes.",
            "**Great question!** Yes.",
            "opens with 'great question'",
        ),
        ({"openers": ["As an AI"]}, "As an airline we fly.", "As an AI, I fly.", "opens with 'as an ai'"),
        ({"exclamations": 1}, "Hello! ![x](y) `!!!`", "Hello! Yes!", "2 exclamation marks"),
        ({"emoji": 0}, "Done ✓ → ok — é", "Done 🎉", "1 emoji"),
        ({"emoji": 1}, "Done 🎉", "🇩🇪 done ❤️", "3 emoji"),
        ({"capitals": 0, "acronyms": ["HTML"]}, "Use HTML and PDF.", "This is VERY good.", "1 words in capitals"),
        ({"formal": True}, "It is Anna's and does not matter.", "It doesn’t matter.", 'contraction "doesn\'t"'),
        ({"formal": True}, "They are superb.", "Super, thanks.", "slang 'super'"),
        ({"grade": 8}, PLAIN * 2, LEARNED * 2, "reading grade"),
    ],
)
def test_rules(options: dict[str, Any], good: str, bad: str, why: str) -> None:
    check = tone.make(options)
    assert outcome(check, asks(), says(good)) is Outcome.PASS
    found = judged(check, asks(), says(bad))
    assert found.outcome is Outcome.FAIL
    assert found.evidence.startswith(f"tone: {why}")


def test_reading_grade() -> None:
    """By hand: 8 words in a sentence, of which `over` has two syllables and the others one."""
    sentence = "the small dog ran over a green field. "
    assert tone.reading_grade(sentence * 5) == pytest.approx(0.39 * 8 + 11.8 * 9 / 8 - 15.59)
    assert tone.reading_grade("too short") is None
    assert (tone.reading_grade(PLAIN.lower() * 2) or 99) < 3 < 15 < (tone.reading_grade(LEARNED.lower() * 2) or 0)


def test_code_and_quotes_are_not_the_brand() -> None:
    check = tone.make({"exclamations": 0, "emoji": 0})
    assert (
        outcome(check, asks(), says("Run this:\n```sh\necho 'Hi!!! 🎉'\n```\n> She said: great!\n\nDone."))
        is Outcome.PASS
    )
    assert outcome(check, asks(), says("> quoted\n\nGreat!")) is Outcome.FAIL
    assert outcome(check, asks(), says("```\nonly code\n```")) is Outcome.NA


@pytest.mark.parametrize("piece", ["`", ">", "\n>", "'s", "a'", "E", "e ", "!", "🎉", "A. "])
def test_hostile(piece: str) -> None:
    check = tone.make({"openers": ["x"], "exclamations": 0, "emoji": 0, "capitals": 0, "formal": True, "grade": 5})
    text = says(piece * (100_000 // len(piece)))
    start = time.process_time()
    outcome(check, asks(), text)
    assert time.process_time() - start < 1.0
