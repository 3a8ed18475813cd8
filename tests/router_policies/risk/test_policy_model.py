"""The policy model: what it says of prompts it has not seen, and what files it takes."""

import json
import struct
from array import array
from collections.abc import Callable
from hashlib import sha256
from math import log, pi, sqrt
from statistics import mean
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router_policies.risk.calibration import calibration_error, platt
from router_policies.risk.policy_model import (
    FIRST_WORDS,
    LAST_WORDS,
    Label,
    PolicyModel,
    PolicyModelError,
    features,
    read_policy_model,
    sigmoid,
    write,
)
from tests.router_policies.risk.asking import asks
from tests.router_policies.risk.training import LABELS, SIGNAL, trained


def test_it_tells_labels_apart_that_it_has_not_seen_and_knows_how_sure_it_is() -> None:
    raw, model, unseen = trained()
    for label in LABELS:
        truth = [labels[label] for _, labels in unseen]
        said = [model.probabilities(words)[label] for words, _ in unseen]
        rough = [raw.probabilities(words)[label] for words, _ in unseen]
        rate = mean(truth)
        perfect = sqrt(2 / pi * rate * (1 - rate) * 10 / len(unseen))  # by chance alone, in ten bins: at most that
        assert calibration_error(said, truth) < 2 * perfect
        assert calibration_error(said, truth) < calibration_error(rough, truth) / 2
        assert _loss(said, truth) < 0.9 * _loss([mean(truth)] * len(truth), truth)
        right = mean((probability >= 0.5) is true for probability, true in zip(said, truth, strict=True))
        assert right > max(mean(truth), 1 - mean(truth)) + 0.05


def _loss(said: list[float], truth: list[bool]) -> float:
    return mean(-log(p if true else 1 - p) for p, true in zip(said, truth, strict=True))


def test_training_again_gives_the_same_file() -> None:
    again = trained.__wrapped__()[1]
    assert again.digest == trained()[1].digest


def test_a_request_has_labels_by_their_thresholds() -> None:
    _, model, _ = trained()
    text = " ".join(SIGNAL["threat"][:12])
    facts = asks(text, given={"model": model})
    assert facts.labels == {"threat"}
    assert facts.probabilities == model.probabilities(text.split())
    strict = [Label(one.name, 0.999999, one.slope, one.offset) for one in model.labels]
    assert asks(text, given={"model": PolicyModel("s", 1, tuple(strict), model.weights)}).labels == frozenset()


def test_features_by_hand() -> None:
    assert features(["a", "b"], 1 << 16) == {crc32(text) & 0xFFFF for text in (b"a ", b"b ", b"a b ")}
    assert features([], 16) == set()
    assert features(["é"], 1 << 16) == {crc32("é ".encode()) & 0xFFFF}


def test_saying_it_again_changes_nothing() -> None:
    _, model, _ = trained()
    assert model.scores(["a", "b", "a", "b"]) != model.scores(["a", "b"])  # `b a` is a pair of its own
    assert model.scores(["a", "b", "a", "b"]) == model.scores(["a", "b", "a", "b", "a", "b"])


def test_of_a_long_text_the_middle_is_left_out() -> None:
    words = [f"w{number}" for number in range(1000)]
    looked_at = words[:FIRST_WORDS] + words[-LAST_WORDS:]
    assert features(words, 1 << 20) == features(looked_at, 1 << 20)


def test_scores_by_hand() -> None:
    buckets = 1 << 16
    weights = array("f", bytes(4 * buckets))
    weights[crc32(b"bad ") & 0xFFFF] = 2.0
    weights[crc32(b"very bad ") & 0xFFFF] = 1.0
    model = PolicyModel("hand", 1, (Label("rude", 0.5, slope=1.5, offset=-1.0),), (weights,))
    assert model.scores(["very", "bad"]) == [pytest.approx(3 / sqrt(3))]
    assert model.probabilities(["very", "bad"]) == {"rude": pytest.approx(sigmoid(1.5 * sqrt(3) - 1))}
    assert model.probabilities([]) == {"rude": pytest.approx(sigmoid(-1.0))}


def test_a_static_embedding_with_a_linear_head_is_one_of_these() -> None:
    """Pooling embeddings and then applying the head is the same as adding what the head makes of each."""
    buckets, head = 8, [[0.5, -1.0, 2.0], [1.0, 0.25, 0.0]]
    embedding = [[(bucket * 7 + axis * 3) % 5 - 2.0 for axis in range(3)] for bucket in range(buckets)]
    columns = tuple(
        array("f", [sum(a * b for a, b in zip(row, vector, strict=True)) for vector in embedding]) for row in head
    )
    model = PolicyModel("m", 1, (Label("a"), Label("b")), columns)
    words = ["one", "two", "three"]
    found = features(words, buckets)
    pooled = [sum(embedding[bucket][axis] for bucket in found) / sqrt(len(found)) for axis in range(3)]
    expected = [sum(a * b for a, b in zip(row, pooled, strict=True)) for row in head]
    assert model.scores(words) == pytest.approx(expected)


# The file.


def small() -> PolicyModel:
    return PolicyModel(
        "small", 7, (Label("a", 0.25, 2.0, -0.5), Label("b")), (array("f", [1, 2, 3, 4]), array("f", [5, 6, 7, 8]))
    )


def test_what_is_written_is_read() -> None:
    data = write(small())
    read = read_policy_model(data, sha256(data).hexdigest())
    assert (read.name, read.version, read.labels, read.weights) == (
        small().name,
        small().version,
        small().labels,
        small().weights,
    )
    assert read.digest == sha256(data).hexdigest()
    assert write(read) == data


def test_the_file_is_safetensors() -> None:
    """By the format's own words: a length, JSON of that length, and the numbers, little-endian."""
    data = write(small())
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert header["weights"] == {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}
    assert header["calibration"] == {"dtype": "F32", "shape": [2, 2], "data_offsets": [32, 48]}
    assert all(isinstance(value, str) for value in header["__metadata__"].values())
    assert struct.unpack("<12f", data[8 + size :]) == (1, 2, 3, 4, 5, 6, 7, 8, 2, -0.5, 1, 0)


def changed(change: Callable[[dict[str, Any]], None], body: bytes | None = None) -> bytes:
    data = write(small())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + (data[8 + size :] if body is None else body)


def meta(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["__metadata__"].update(values)


def tensor(name: str, **values: object) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[name].update(values)


INFINITE = struct.pack("<12f", *[float("inf")] * 12)

WRONG: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "safetensors"),
    "a header longer than the file": ((1 << 62).to_bytes(8, "little") + b"{}", "safetensors"),
    "no JSON": ((4).to_bytes(8, "little") + b"abcd", "header of a policy model"),
    "a pickle": (b"\x80\x04\x95" + b"\0" * 40, "safetensors"),
    "another kind of file": (changed(lambda header: header.pop("__metadata__")), "__metadata__"),
    "a later format": (changed(meta(policy_model="2")), "policy_model"),
    "other features": (changed(meta(features="characters")), "features"),
    "no version": (changed(meta(version="new")), "version"),
    "labels twice": (changed(meta(labels='["a", "a"]')), "labels that differ"),
    "too few labels": (changed(meta(labels='["a"]', thresholds="[0.5]")), "as many labels"),
    "a label that is none": (changed(meta(labels='["a", "<b>"]')), "matching regex"),
    "too few thresholds": (changed(meta(thresholds="[0.5]")), "thresholds as labels"),
    "a threshold of 1": (changed(meta(thresholds="[0.5, 1.0]")), "between 0 and 1"),
    "changed numbers": (changed(lambda _: None, body=b"\0" * 48), "SHA-256"),
    "too little data": (changed(lambda _: None, body=b"\0" * 44), "as much data"),
    "no numbers": (changed(meta(sha256=sha256(INFINITE).hexdigest()), body=INFINITE), "infinite"),
    "doubles": (changed(tensor("weights", dtype="F64")), "dtype"),
    "overlapping tensors": (changed(tensor("calibration", data_offsets=[0, 16])), "calibration after"),
    "buckets that are no power of two": (changed(tensor("weights", shape=[2, 3])), "power of two"),
    "negative buckets": (changed(tensor("weights", shape=[2, -4])), "power of two"),
    "a tensor that is not known": (changed(lambda header: header.update(more=header["weights"])), "more"),
}


@pytest.mark.parametrize(("data", "told"), WRONG.values(), ids=WRONG)
def test_another_file_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(PolicyModelError, match=told):
        read_policy_model(data)


def test_a_file_with_another_digest_is_refused() -> None:
    data = write(small())
    with pytest.raises(PolicyModelError, match=f"SHA-256 {'0' * 64}, got"):
        read_policy_model(data, "0" * 64)


@settings(max_examples=300)
@given(st.integers(0, len(write(small())) - 1), st.integers(1, 255))
def test_no_changed_byte_is_taken_for_the_same_model(at: int, flip: int) -> None:
    data = bytearray(write(small()))
    data[at] ^= flip
    try:
        read = read_policy_model(bytes(data))
    except PolicyModelError:
        return
    assert read.weights == small().weights  # a changed name or threshold is what pinning the file is for


# Calibration.


def test_platt_finds_the_slope_that_made_the_labels() -> None:
    """Labels at every score in the very shares that sigmoid(2 s - 1) says: nothing else fits as well."""
    scores, labels = [], []
    for at in range(-20, 21):
        positive = round(500 * sigmoid(2 * at / 10 - 1))
        scores += [at / 10] * 500
        labels += [True] * positive + [False] * (500 - positive)
    slope, offset = platt(scores, labels)
    assert slope == pytest.approx(2, abs=0.01)
    assert offset == pytest.approx(-1, abs=0.01)


def test_scores_that_part_the_labels_wholly_have_a_finite_slope() -> None:
    slope, offset = platt([-1.0] * 10 + [1.0] * 10, [False] * 10 + [True] * 10)
    assert sigmoid(slope + offset) == pytest.approx(11 / 12, abs=1e-4)  # Platt's targets: (10 + 1)/(10 + 2)
    assert sigmoid(-slope + offset) == pytest.approx(1 / 12, abs=1e-4)


def test_labels_of_one_kind_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="labels of both kinds, got 2 of 2"):
        platt([0.1, 0.2], [True, True])


def test_calibration_error_by_hand() -> None:
    assert calibration_error([0.2, 0.2, 0.8, 0.8], [False, True, True, True], bins=2) == pytest.approx((0.6 + 0.4) / 4)
    assert calibration_error([0.0, 1.0], [False, True], bins=2) == 0
    with pytest.raises(ValueError, match="got none"):
        calibration_error([], [])
