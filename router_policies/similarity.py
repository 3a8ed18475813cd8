"""How like two texts are by an embedding: one request for both, and the cosine of what comes.

The number has no scale of its own: with one model unrelated texts have 0.1, with another 0.7. It is to be read against
that of the teacher's two answers to one request (A/A), and to sort by. It misses negations and numbers nearly always.
"""

from math import isfinite, sqrt
from operator import mul
from typing import Any

import msgspec

VERSION = 1
LONGEST = 8 * 1024  # characters of each text that are sent; embedding models read some hundred to some thousand tokens


def request(one: str, other: str) -> dict[str, Any]:
    """For `/v1/embeddings`, but for the model."""
    return {"input": [one[:LONGEST], other[:LONGEST]], "encoding_format": "float"}


class _Embedding(msgspec.Struct):
    embedding: list[float]
    index: int


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


_read = msgspec.json.Decoder(_Embeddings).decode


def similarity(body: bytes) -> float | None:
    """The cosine of the two embeddings in an answer, None if it does not have exactly these two, or they have none."""
    try:
        found = sorted(_read(body).data, key=lambda one: one.index)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if [one.index for one in found] != [0, 1]:
        return None
    return cosine(found[0].embedding, found[1].embedding)


def cosine(one: list[float], other: list[float]) -> float | None:
    """From -1 to 1. None where there is none: vectors of unequal length or of length 0, numbers that are none or too
    large to be multiplied."""
    if len(one) != len(other):
        return None
    lengths: float = sqrt(sum(map(mul, one, one))) * sqrt(sum(map(mul, other, other)))
    product: float = sum(map(mul, one, other))
    if not isfinite(lengths) or not isfinite(product) or lengths == 0:
        return None
    return max(-1.0, min(1.0, product / lengths))
