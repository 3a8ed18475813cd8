"""Trains a policy model on made-up prompts, in seconds, from a seed: what `student_train` will do with real ones.

    python -m tests.router_policies.risk.training policy_model.safetensors

A prompt has words of no meaning and, for each label, some that speak for it. Whether it has the label is drawn, with
a probability that grows with their number: so nobody can be right always, and a good model knows how often it is.
"""

import sys
from array import array
from functools import cache
from pathlib import Path
from random import Random

from router_policies.risk.calibration import platt
from router_policies.risk.policy_model import Label, PolicyModel, features, read_policy_model, sigmoid, write

LABELS = ("payment_dispute", "medical_advice", "threat")
BUCKETS = 1 << 12
NEUTRAL = [f"word{number}" for number in range(300)]
SIGNAL = {label: [f"{label.split('_')[0]}{number}" for number in range(25)] for label in LABELS}
EPOCHS, RATE, SHRINK = 12, 0.7, 1e-4

Prompt = tuple[list[str], dict[str, bool]]


def prompts(seed: int, count: int) -> list[Prompt]:
    drawn = Random(seed)
    made: list[Prompt] = []
    for _ in range(count):
        words = drawn.choices(NEUTRAL, k=drawn.randint(10, 40))
        labels = {}
        for label in LABELS:
            signals = drawn.randint(0, 4)
            words += drawn.choices(SIGNAL[label], k=signals)
            labels[label] = drawn.random() < sigmoid(1.5 * (signals - 2.5))
        drawn.shuffle(words)
        made.append((words, labels))
    return made


def fit(known: list[Prompt], seed: int) -> PolicyModel:
    """Logistic regression by stochastic gradient descent, a label at a time, not calibrated."""
    columns = []
    for label in LABELS:
        weights = array("f", bytes(4 * BUCKETS))
        bias = 0.0
        texts = [(features(words, BUCKETS), labels[label]) for words, labels in known]
        drawn = Random(seed)
        for epoch in range(EPOCHS):
            drawn.shuffle(texts)
            rate = RATE / (1 + epoch)
            for found, true in texts:
                scale = len(found) ** -0.5
                wrong = true - sigmoid(sum(map(weights.__getitem__, found)) * scale + bias)
                bias += rate * 0.1 * wrong
                for bucket in found:
                    weights[bucket] += rate * (wrong * scale - SHRINK * weights[bucket])
        columns.append(weights)
    return PolicyModel("synthetic", 1, tuple(Label(label) for label in LABELS), tuple(columns))


def calibrated(model: PolicyModel, known: list[Prompt]) -> PolicyModel:
    """The same, with slopes and offsets from prompts that it was not trained on."""
    scored = [model.scores(words) for words, _ in known]
    labels = []
    for at, label in enumerate(model.labels):
        slope, offset = platt([scores[at] for scores in scored], [true[label.name] for _, true in known])
        labels.append(Label(label.name, label.threshold, slope, offset))
    return PolicyModel(model.name, model.version, tuple(labels), model.weights)


@cache
def trained() -> tuple[PolicyModel, PolicyModel, list[Prompt]]:
    """The model before and after calibration, the latter as read from its file, and prompts that neither has seen."""
    known = prompts(1, 6000)
    raw = fit(known[:1500], seed=2)
    return raw, read_policy_model(write(calibrated(raw, known[1500:3000]))), known[3000:]


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(write(trained()[1]))
