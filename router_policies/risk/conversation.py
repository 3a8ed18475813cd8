"""What a conversation tells beside its words: that something is asked again, or several things, code or formulas.

All of it looks at the last message of the user, which is what has to be answered now; re-asking also at those before.
"""

import re
from collections.abc import Sequence

from router_policies.checks.check import Turn
from router_policies.risk.words import Words, listed, split

EARLIER = 8  # messages of the user that a last one is compared with, and characters of each
COMPARED = 1000
_SAME = 0.8  # of the words of both together, that both have
_LEAST_WORDS = 3  # `yes please` is said again and again


def reasked(turns: Sequence[Turn]) -> int:
    """How many of the user's earlier messages ask what the last one asks: with the same words, by and large."""
    asked = [turn.text for turn in turns if turn.role == "user"][-EARLIER - 1 :]
    if len(asked) < 2:
        return 0
    asked = [text[:COMPARED] for text in asked]
    if len(last := frozenset(split(asked[-1]))) < _LEAST_WORDS:
        return 0
    return sum(_alike(last, frozenset(split(text))) for text in asked[:-1])


def _alike(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= _SAME * len(one | other)


# What is asked for.

LINES = 200  # of a text, that are looked at one by one

_QUESTION = re.compile(r"[?？؟]+")
_STEP = re.compile(r" {0,8}(?:\d{1,2}[.)]|[-*•]|[Ss]tep \d{1,2}\b|[a-h]\)) ?\S")
_NEXT = frozenset({"then", "afterwards", "next", "finally", "lastly"})


def questions(text: str) -> int:
    """Runs of question marks."""
    count = text.count("?")
    if not text.isascii() or (count > 1 and "??" in text):
        return sum([1 for _ in _QUESTION.finditer(text)])
    return count


def steps(text: str, words: Words) -> int:
    """Things to do that are numbered or listed, or told in an order: "first ..., then ..., finally ..."."""
    in_list = sum([_STEP.match(line) is not None for line in _lines(text)])
    told = sum([words.all.count(word) for word in _NEXT & words.set]) if "first" in words.set else 0
    return max(in_list, told + 1 if told else 0)


def _lines(text: str) -> list[str]:
    return text.split("\n", LINES)[:LINES]


# Code and maths. Each expression is tried only on what shows a sign that it could fit: most requests have neither.

_CODE_SIGNS = {  # by a character of each: looking for one character takes a tenth of the time
    "`": ("```",),
    "~": ("~~~",),
    "{": ("=> {", ") {\n"),
    "<": ("</",),
    "#": ("#include",),
    "(": ("console.log(", "System.out.print", "Traceback (most"),
}
_CODE_LINE = re.compile(
    r"\s{0,16}(?:import [\w.]{1,64}(?:;|,|$| as )|import .{1,80} from ['\"]|"
    r"from [\w.]{1,64} import |def \w{1,64}\(|(?:public |final )?class \w{1,64} ?[:({]|"
    r"(?:async )?function \w{0,64} ?\(|(?:const|let|var) \w{1,64} =|package \w|using [\w.]{1,64};|"
    r"(?:public|private|protected) (?:static|final|class|void|async|override|int|string) |SELECT .{1,200} FROM |"
    r"[$>] (?:git|npm|pip|docker|curl|sudo) |fn \w{1,64}\(|"
    r"printf?\(|println!\()"
)
_CODE_LINE_WORDS = listed(
    """import def class function const let var package using public private protected select git npm pip docker curl
    sudo fn print printf println"""
)
_MATHS_SYMBOLS = frozenset("∑∫√≤≥≠∂∞πΔ∇∈×÷")
_LATEX = re.compile(r"\\(?:frac|sum|int|sqrt|begin|alpha|theta|lim|cdot|times|left)\b")
_SUM = re.compile(
    r"(?<![\w./-])\d{1,12}(?:\.\d{1,12})? ?[+*^] ?\d{1,12}|(?<!\w)\d{0,6}[a-z] ?(?:\^ ?\d|[-+*/] ?\d{1,6} ?=)|"
    r"\b[fg]\([xyzt]\) ?=|(?<!\w)[xyz] ?= ?-?\d"
)


def has_code(text: str, words: Words) -> bool:
    """Whether there is code in it. Talk of code has words for it, in `topics.py`."""
    for mark, signs in _CODE_SIGNS.items():  # a generator for each would take as long as all of it
        if mark in text and any(sign in text for sign in signs):
            return True
    return text.count(";\n") > 1 or (
        not _CODE_LINE_WORDS.isdisjoint(words.set) and any(_CODE_LINE.match(line) is not None for line in _lines(text))
    )


def has_maths(text: str) -> bool:
    """Whether there is a formula in it. Problems in words have words for it, in `topics.py`."""
    return (
        (not text.isascii() and not _MATHS_SYMBOLS.isdisjoint(text))
        or ("\\" in text and _LATEX.search(text) is not None)
        or (any(sign in text for sign in "+*^=") and _SUM.search(text) is not None)
    )
