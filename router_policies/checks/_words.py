"""The words of a text, fast: letters in a row, with the apostrophe of `don't`. Digits and punctuation are no words."""

import re

_NO_WORD = str.maketrans(dict.fromkeys('0123456789.,;:!?()[]{}"<>|*_#/\\`~=+@$%^&-', " "))
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


def words(text: str) -> list[str]:
    """Without case. Of ASCII, which most answers are, a fifth of the time that the pattern takes."""
    if text.isascii():
        return text.lower().translate(_NO_WORD).split()
    return _WORD.findall(text.casefold().replace("’", "'"))
