"""The compact policy model: which risk and policy labels a text deserves, in well under a millisecond, in process.

A linear classifier over hashed words and pairs of words. Any static or hashed token embedding with mean pooling and a
linear head is one of these: the head times the embedding of a token is a number per label, so the product is stored,
not the factors. Its scores are made probabilities by two numbers per label (Platt 1999), so a new calibration leaves
the weights alone. The file is safetensors, which holds numbers and text and nothing that runs; docs/policy-model.md has
it byte by byte. `student_train` makes it; `write` is what it calls.

Labels are judged each by itself: none, one or several may fit.
"""

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import exp, isfinite, sqrt
from typing import Annotated, Literal
from zlib import crc32

import msgspec
from msgspec import Meta, Struct

FIRST_WORDS, LAST_WORDS = 128, 384  # of a longer text, that are looked at
_MOST_HEADER = 64 * 1024  # bytes
_MOST_BUCKETS, _MOST_LABELS = 1 << 20, 32
_FLOAT = 4  # bytes


class PolicyModelError(ValueError):
    """A file that is no policy model, or not the one that was asked for."""


@dataclass(frozen=True, slots=True)
class Label:
    """`threshold`: the probability from which a text has it. `slope`, `offset`: of the calibration."""

    name: str
    threshold: float = 0.5
    slope: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class PolicyModel:
    """`weights`: of each label, a number per bucket. `digest`: SHA-256 of the file, in hex."""

    name: str
    version: int
    labels: tuple[Label, ...]
    weights: tuple["array[float]", ...]
    digest: str = ""

    def scores(self, words: Sequence[str]) -> list[float]:
        """Of each label, before calibration. `words` as `risk.words.split` gives them."""
        found = features(words, len(self.weights[0]))
        scale = 1 / sqrt(len(found)) if found else 0.0
        return [sum(map(column.__getitem__, found)) * scale for column in self.weights]

    def probabilities(self, words: Sequence[str]) -> dict[str, float]:
        return {
            label.name: sigmoid(label.slope * score + label.offset)
            for label, score in zip(self.labels, self.scores(words), strict=True)
        }

    def above(self, probabilities: Mapping[str, float]) -> frozenset[str]:
        """The labels that a text with these probabilities has."""
        return frozenset([label.name for label in self.labels if probabilities[label.name] >= label.threshold])


def features(words: Sequence[str], buckets: int) -> set[int]:
    """The buckets of a text's words and of its pairs of neighbours, each once: repeating a word changes nothing.

    A word's hash is the CRC-32 of its UTF-8 and a blank, a pair's that of both so written; a bucket is its low bits.
    """
    if len(words) > FIRST_WORDS + LAST_WORDS:
        words = [*words[:FIRST_WORDS], *words[-LAST_WORDS:]]
    if not words:
        return set()
    text = " ".join(words).encode("utf-8", "surrogatepass") + b" "
    parts = [part + b" " for part in text.split(b" ")[:-1]]
    ones = list(map(crc32, parts))
    pairs = map(crc32, parts[1:], ones)  # goes on from the hash of the one before
    mask = buckets - 1
    found = {one & mask for one in ones}
    found.update([pair & mask for pair in pairs])
    return found


def sigmoid(x: float) -> float:
    if x >= 0:
        return 1 / (1 + exp(-min(x, 700.0)))
    e = exp(max(x, -700.0))
    return e / (1 + e)


# The file.


class _Meta(Struct):
    """safetensors has text only, so lists are JSON."""

    format: Literal["1"] = msgspec.field(name="policy_model")
    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_.-]{0,63}$")]
    version: Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}$")]
    features: Literal["words-and-pairs-crc32"]
    labels: str
    thresholds: str
    sha256: str


class _Tensor(Struct, forbid_unknown_fields=True):
    dtype: Literal["F32"]
    shape: tuple[int, int]
    data_offsets: tuple[int, int]


class _Header(Struct, forbid_unknown_fields=True):
    meta: _Meta = msgspec.field(name="__metadata__")
    weights: _Tensor
    calibration: _Tensor


_LabelNames = Annotated[list[Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,63}$")]], Meta(min_length=1)]


def read_policy_model(data: bytes, expected: str | None = None) -> PolicyModel:
    """The model in a file's bytes; `expected` is its SHA-256 in hex, as the config pins it. Raises `PolicyModelError`.

    Nothing in it is believed before it is checked: sizes fit each other, every number is finite, the text is short.
    """
    digest = sha256(data).hexdigest()
    if expected is not None and digest != expected.lower():
        raise PolicyModelError(f"expected a file with SHA-256 {expected}, got one with {digest}")
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(_MOST_HEADER, len(data) - 8):
        raise PolicyModelError(f"expected safetensors with a header of at most {_MOST_HEADER} bytes, got another file")
    try:
        header = msgspec.json.decode(data[8 : 8 + size], type=_Header)
        names = msgspec.json.decode(header.meta.labels, type=_LabelNames)
        thresholds = msgspec.json.decode(header.meta.thresholds, type=list[float])
    except (ValueError, RecursionError) as error:
        raise PolicyModelError(f"expected the header of a policy model: {error}") from None
    body = data[8 + size :]
    _check(header, names, thresholds, body)
    buckets = header.weights.shape[1]
    numbers = _floats(body)
    if not all(map(isfinite, numbers)):
        raise PolicyModelError("expected numbers, got one that is infinite or none")
    columns = tuple(numbers[at * buckets : (at + 1) * buckets] for at in range(len(names)))
    calibration = numbers[len(names) * buckets :]
    labels = tuple(
        Label(name, threshold, calibration[2 * at], calibration[2 * at + 1])
        for at, (name, threshold) in enumerate(zip(names, thresholds, strict=True))
    )
    return PolicyModel(header.meta.name, int(header.meta.version), labels, columns, digest)


def _check(header: _Header, names: list[str], thresholds: list[float], body: bytes) -> None:
    count, buckets = header.weights.shape
    end = count * buckets * _FLOAT
    expected: list[tuple[str, object, object]] = [
        ("as many labels as rows of weights", len(names), count),
        ("as many thresholds as labels", len(thresholds), len(names)),
        ("labels that differ", len(set(names)), len(names)),
        (f"at most {_MOST_LABELS} labels", count <= _MOST_LABELS, True),
        (
            f"a power of two up to {_MOST_BUCKETS} of buckets",
            0 < buckets <= _MOST_BUCKETS and buckets & -buckets,
            buckets,
        ),
        ("thresholds between 0 and 1", all(0 < one < 1 for one in thresholds), True),
        ("two numbers of calibration per label", header.calibration.shape, (count, 2)),
        ("weights at the beginning", header.weights.data_offsets, (0, end)),
        ("calibration after them", header.calibration.data_offsets, (end, end + count * 2 * _FLOAT)),
        ("as much data as the header says", len(body), end + count * 2 * _FLOAT),
        ("data with the header's SHA-256", sha256(body).hexdigest(), header.meta.sha256),
    ]
    for what, got, wanted in expected:
        if got != wanted:
            raise PolicyModelError(f"expected {what}, got {got}" + (f", not {wanted}" if wanted is not True else ""))


def _floats(body: bytes) -> "array[float]":
    numbers: array[float] = array("f")
    assert numbers.itemsize == _FLOAT  # IEEE 754 binary32, as on every platform of CPython's
    numbers.frombytes(body)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def write(model: PolicyModel) -> bytes:
    """The file of a model. What is read from it has the same weights, rounded to 32 bits."""
    buckets = len(model.weights[0])
    numbers: array[float] = array("f")
    for column in model.weights:
        numbers.extend(column)
    for label in model.labels:
        numbers.extend((label.slope, label.offset))
    if sys.byteorder == "big":
        numbers.byteswap()
    body = numbers.tobytes()
    end = len(model.labels) * buckets * _FLOAT
    meta = _Meta(
        "1",
        model.name,
        str(model.version),
        "words-and-pairs-crc32",
        msgspec.json.encode([label.name for label in model.labels]).decode(),
        msgspec.json.encode([label.threshold for label in model.labels]).decode(),
        sha256(body).hexdigest(),
    )
    weights = _Tensor("F32", (len(model.labels), buckets), (0, end))
    calibration = _Tensor("F32", (len(model.labels), 2), (end, len(body)))
    header = msgspec.json.encode(_Header(meta, weights, calibration))
    header += b" " * (-len(header) % 8)  # safetensors: the data begins at a multiple of 8
    return len(header).to_bytes(8, "little") + header + body
