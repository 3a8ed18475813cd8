"""What the model servers of `chaos.py` answer, and thereby what its client must have got: character for character.

The answer to a prompt (a number) follows from the number alone, so that any part of it that is missing, doubled or of
another answer shows. It has one- to four-byte characters, sequences that are one sign to a reader, what JSON escapes,
and blanks of all kinds at all places, its beginning and its end too.
"""

from __future__ import annotations

import random

WORDS = (
    *("order", "left", "the", "depot", "of", "a", "parcel", "[DONE]", "data:", "stop", "null", "\\u00e4", "C:\\new"),
    *("Grüße", "Zürich", "naïve", "№", "→", "世界", "配達", "Спасибо", "€19,95", '"quoted"', "{json}", "\t", "</s>"),
    *("📦", "👋🏽", "👩\u200d🚀", "🇨🇭", "e\u0301", "𝒳"),
)
BLANKS = (" ", " ", " ", " ", " ", "  ", "\n", "\n\n", " \n ")
ENDS = ("", "", "", "", "", "", "", "", "\n", " ")
VARIANTS = 2
_DISAGREE = 8  # every so many prompts has one answer from the student and the teacher, and another from the spare


def answer(prompt: int, variant: int = 0) -> str:
    """The text for a prompt. Variant 1 is the spare's: as a rule the same, at times another from some place on."""
    numbers = random.Random(prompt)
    length = numbers.randrange(30, 110)
    parts = [numbers.choice(ENDS)]
    for place in range(length):
        parts += [numbers.choice(WORDS), numbers.choice(BLANKS)]
        if not place % 4:
            parts.append(f"{numbers.randrange(1000)} ")
    parts.pop()
    if variant and prompt % _DISAGREE == 0:
        at = numbers.randrange(len(parts))
        parts[at:] = [f"otherwise {part}" for part in parts[at:]]
    return "".join(parts) + numbers.choice(ENDS)


def answers(prompt: int) -> tuple[str, ...]:
    """All that are right."""
    return (answer(prompt), answer(prompt, 1)) if prompt % _DISAGREE == 0 else (answer(prompt),)


def pieces(text: str, numbers: random.Random) -> list[str]:
    """As the tokens of a stream: one to ten characters, cut anywhere between two code points."""
    cut: list[str] = []
    at = 0
    while at < len(text):
        end = at + numbers.randrange(1, 11)
        cut.append(text[at:end])
        at = end
    return cut
