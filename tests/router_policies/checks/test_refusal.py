"""Refusals: 641 labelled completions.

tests/data/checks/refusals.jsonl: real ones of SmolLM2-135M, the others written in the manner of well-known models. Of
the first 391 half were looked at while the wording was written down. The sets "written first, second, third" came
later, each to see what it comes to at first sight (recall 0.78, 0.70, 0.84; precision 0.96, 0.93, 1.00; accuracy 0.88,
0.83, 0.92); then the wording was widened by what they had shown.
"""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from router_policies.checks import refusal
from router_policies.checks.check import Answer, Difference, Outcome, Request, Severity, Turn
from router_policies.checks.refusal import Stance, classify
from tests.router_policies.checks.saying import agreed, asks, judged, outcome, says

LABELLED = [json.loads(line) for line in Path("tests/data/checks/refusals.jsonl").read_text("utf-8").splitlines()]
LABELS = {Stance.FULL: "full", Stance.PARTIAL: "partial", Stance.NONE: "none"}
REFUSAL = refusal.make({})


def stance(text: str, prompt: str = "How do I do it?") -> Stance:
    return classify(Request("", (Turn("user", prompt),)), Answer(text)).stance


@pytest.mark.parametrize("split", ["dev", "held-out"])
def test_labelled(split: str) -> None:
    counts: Counter[tuple[bool, bool]] = Counter()
    right = 0
    for line in LABELLED:
        if line["split"] == split:
            label = LABELS[stance(line["text"], line["prompt"])]
            counts[label != "none", line["label"] != "none"] += 1
            right += label == line["label"]
    assert sum(counts.values()) >= 190
    accuracy = (counts[True, True] + counts[False, False]) / sum(counts.values())
    precision = counts[True, True] / (counts[True, True] + counts[True, False])
    recall = counts[True, True] / (counts[True, True] + counts[False, True])
    assert accuracy >= 0.95, counts
    assert precision >= 0.95, counts
    assert recall >= 0.92, counts
    assert right / sum(counts.values()) >= 0.90  # of three classes


def test_what_the_server_says_counts_first() -> None:
    assert classify(asks(), says(None, refusal="No.")).stance is Stance.FULL
    assert classify(asks(), says("", finish="content_filter")).why == "filter"
    assert classify(asks(), says("Half of it", finish="content_filter")).stance is Stance.PARTIAL
    assert classify(asks(), says("Sure, here it is.", refusal="I can't.")).stance is Stance.PARTIAL


def test_others_words_do_not_count() -> None:
    assert stance("He said \"I'm sorry, but I can't help with that\" and left.") is Stance.NONE
    assert stance("```\nprint('I cannot help you')\n```\nThat prints it.") is Stance.NONE
    assert stance("> I can't help with that.\n\nThat reply is rude.") is Stance.NONE
    letter = "Subject: Your offer\n\nDear Ann,\n\nI can't recommend your plan to the board."
    assert stance(letter, "Write a letter that turns the offer down") is Stance.NONE
    assert stance("\"I'm sorry, but I can't assist with that.\"") is Stance.FULL


def test_a_refusal_far_into_an_answer_does_not_make_it_one() -> None:
    steps = "Then fold the left side over and press it flat with care. " * 20
    assert stance(steps + "Of course I can't help with tearing it up. " + steps) is Stance.NONE
    assert stance(steps + "I can't help with the second part.") is Stance.PARTIAL


def test_verdicts() -> None:
    no, yes = says("I'm sorry, but I can't assist with that."), says("Press the red button for three seconds.")
    some = says("I can't give legal advice. However, here are some general points: keep the receipt.")
    assert (judged(REFUSAL, asks(), no).outcome, judged(REFUSAL, asks(), no).severity) == (Outcome.FAIL, Severity.HIGH)
    assert judged(REFUSAL, asks(), no).evidence == "full refusal: by mine"
    assert outcome(REFUSAL, asks(), yes) is Outcome.PASS
    assert outcome(REFUSAL, asks(), says("")) is Outcome.NA
    assert outcome(refusal.make({"partial": False}), asks(), some) is Outcome.PASS
    assert agreed(REFUSAL, asks(), no, no) is True
    difference = agreed(REFUSAL, asks(), no, yes)
    assert isinstance(difference, Difference)
    assert difference.evidence == "refusal mismatch: full refusal, teacher no refusal"
    assert not agreed(refusal.make({"partial": False}), asks(), some, yes)
    assert outcome(refusal.make({"languages": ["en"]}), asks(), says("Lo siento, no puedo ayudarte.")) is Outcome.PASS


@pytest.mark.parametrize(
    "piece",
    ["i am not ", "i can't be able to ", "i ", "is never ", '"', "`", "it is not ", "my policy ", "i'm and so but ",
     "however, ", "it is not appropriate a a ", "ich kann nicht ", "je ne peux pas ", "no puedo ", "non posso ",
     "> ", "a: b\n",
     "not i'm "],
)  # fmt: skip
def test_hostile_text_takes_no_longer(piece: str) -> None:
    text, best = piece * (100_000 // len(piece)), float("inf")
    for _ in range(3):
        start = time.process_time()
        stance(text, "write " + piece * 1000)
        best = min(best, time.process_time() - start)
    assert best < 0.02, f"{best * 1e3:.1f} ms"
