"""What of two texts is the same: sketches, small enough to be kept for every text of a set.

Two are alike if their sets of runs of eight bytes overlap (Jaccard), after case, blanks and digits are levelled: the
same thing said again. Of 100 random orders of all runs a sketch has each time the first one that the text has: two
agree in as large a share of places as the sets overlap, with a standard error of at most 0.05 (Broder, On the
resemblance and containment of documents, 1997); of each a byte is enough (Li and König, b-bit minwise hashing, 2010).
Only those are compared that agree in one of 20 bands of 5 (locality-sensitive hashing: Leskovec, Rajaraman, Ullman,
Mining of Massive Datasets, 3.4). An estimate of `ALIKE` is enough, so that of pairs that really overlap by 0.8 about
one in 90 is missed, and of those by 0.85 one in 9,000.

Two are also alike if one has much of the other in it: at least `CONTAINED` of the runs of 13 words of the shorter one,
by which training sets are searched for what models are tested on (Brown et al., Language Models are Few-Shot Learners,
2020, appendix C). That finds a thread that is quoted.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from student_train.teachset.example import Example

ALIKE, CONTAINED = 0.7, 0.5
ORDERS, BANDS = 100, 20
_RUN, _GRAM = 8, 13
_MOST_GRAMS = 512  # kept of one text: those with the smallest hashes, so that two texts that share some keep the same
_AT_ONCE = 1 << 14  # runs whose orders are in memory at a time: 7 MB

U64 = NDArray[np.uint64]

_BLANKS = re.compile(r"\s+")
_WORDS = re.compile(r"\w+")
_LEVELLED = str.maketrans("123456789", "000000000")
_rng = np.random.default_rng(20_240_101)
_FACTORS = _rng.integers(0, 2**32, ORDERS, dtype=np.uint32) | np.uint32(1)
_OFFSETS = _rng.integers(0, 2**32, ORDERS, dtype=np.uint32)
_POWERS = np.cumprod(np.full(_GRAM, 0x9E3779B97F4A7C15, dtype=np.uint64))


class Sketches(Struct, frozen=True):
    """Of n texts. `bands`: (n, BANDS), equal where a band is. `low`: (n, ORDERS), for `similarity`. `grams`: hashes of
    runs of 13 words, those of one text all different, and `gram_of`: which text each is of. `words`: (n,), whether a
    text has any: of one without nothing is known."""

    bands: U64
    low: NDArray[np.uint8]
    grams: U64
    gram_of: NDArray[np.int64]
    words: NDArray[np.bool_]


def text_of(example: Example) -> str:
    """What is compared: all but what the app says itself, which is the same in every example. What is no text (a
    picture) stands there as a hash."""
    parts: list[str] = []
    for message in example.messages:
        if message.get("role") not in ("system", "developer"):
            content = message.get("content")
            parts += [content] if isinstance(content, str) else [_part(one) for one in content or ()]
    return "\n".join(parts)


def _part(part: object) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    return blake2b(json.dumps(part, sort_keys=True).encode(), digest_size=16).hexdigest().translate(_LETTERS)


_LETTERS = str.maketrans("0123456789", "ghijklmnop")  # digits are levelled


def sketches(texts: Sequence[str]) -> Sketches:
    words = [_WORDS.findall(text.casefold()) for text in texts]
    level = [_BLANKS.sub(" ", text.casefold()).strip().translate(_LEVELLED).encode(errors="replace") for text in texts]
    padded = [text.ljust(_RUN, b"\0") for text in level]
    runs, starts = _runs(np.frombuffer(b"".join(padded), np.uint8).astype(np.uint64), padded, _RUN)
    smallest = _smallest(runs, starts)
    grams, gram_starts = _runs(np.array([_hash(word) for one in words for word in one], np.uint64), words, _GRAM)
    kept, gram_of = _few(grams, gram_starts)
    return Sketches(
        _bands(smallest), smallest.astype(np.uint8), kept, gram_of, np.array([bool(one) for one in words], dtype=bool)
    )


def similarity(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The estimated overlap of texts by their `low`, (..., ORDERS) each. A byte in 256 agrees by chance: that is taken
    out again."""
    agreeing = (one == other).mean(axis=-1)
    return np.asarray((agreeing - 1 / 256) / (1 - 1 / 256))


@lru_cache(1 << 16)
def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest())


def _runs(flat: U64, texts: Sequence[Sequence[object]], size: int) -> tuple[U64, NDArray[np.int64]]:
    """Hashes of all runs of `size` places of each text, and where each text's begin, with the end. `flat`: all texts,
    one after the other."""
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    counts = np.maximum(lengths - size + 1, 0)
    starts = np.concatenate(([0], np.cumsum(counts)))
    begins = np.concatenate(([0], np.cumsum(lengths)))[:-1]
    at = np.repeat(begins - starts[:-1], counts) + np.arange(starts[-1])
    found = np.zeros(len(at), np.uint64)
    for place in range(size if len(at) else 0):
        found += flat[at + place] * _POWERS[place]
    return mixed(found), starts


def mixed(values: U64) -> U64:
    """Of every value another, each bit of which depends on all of its bits (splitmix64: Steele, Lea, Flood, 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))


def _smallest(runs: U64, starts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """(texts, ORDERS): multiplied by an odd number and moved, 32 bits are in another order. Every text has a run. Each
    order's values lie side by side, which is many times faster than each run's."""
    found = np.full((ORDERS, len(starts) - 1), np.iinfo(np.uint32).max, np.uint32)
    short = (runs >> np.uint64(32)).astype(np.uint32)
    for begin in range(0, len(runs), _AT_ONCE):
        end = min(begin + _AT_ONCE, len(runs))
        ordered = _FACTORS[:, None] * short[None, begin:end] + _OFFSETS[:, None]
        first, last = np.searchsorted(starts, (begin, end - 1), "right") - 1  # the first may have begun earlier
        edges = np.maximum(starts[first : last + 1], begin) - begin
        part = np.minimum.reduceat(ordered, edges, axis=1)
        found[:, first : last + 1] = np.minimum(found[:, first : last + 1], part)
    return np.ascontiguousarray(found.T)


def _bands(smallest: NDArray[np.uint32]) -> U64:
    parts = smallest.reshape(-1, BANDS, ORDERS // BANDS).astype(np.uint64)
    found = np.tile(np.arange(1, BANDS + 1, dtype=np.uint64), (len(smallest), 1))
    for row in range(parts.shape[2]):
        found = mixed(found * _POWERS[0] + parts[:, :, row])
    return found


def _few(grams: U64, starts: NDArray[np.int64]) -> tuple[U64, NDArray[np.int64]]:
    """The different ones of each text, at most `_MOST_GRAMS`, and whose they are."""
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((grams, owner))
    grams, owner = grams[order], owner[order]
    fresh = np.ones(len(grams), bool)
    fresh[1:] = (grams[1:] != grams[:-1]) | (owner[1:] != owner[:-1])
    grams, owner = grams[fresh], owner[fresh]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return grams[rank < _MOST_GRAMS], owner[rank < _MOST_GRAMS]
