"""Cards, identity numbers and telephones: what is found in runs of digits.

A run is a stretch of digits with at most three separators between them. Texts have few, so each kind may look at every
run; what does not look like the kind costs a failed match. A number whose shape and check digits could be chance needs
a word before it that says what it is (see `_pii_context`).
"""

import re
from collections.abc import Callable, Iterator

import phonenumbers

from router_policies.checks import _checksums
from router_policies.checks._pii_context import Cue, cue

_RUN = re.compile(r"[0-9](?:[ \-./()]{0,3}[0-9]){6,}+")
_EXTENSION = re.compile(r" ?(?:x|ext\.?|#) ?[0-9]{1,6}(?![0-9A-Za-z])", re.IGNORECASE)
_APART = re.compile(r"[ \-./()]")
_DIGITS = bytes(57 if 48 <= byte < 58 else 32 for byte in range(256))

Found = tuple[str, int, int]
"""A kind (`phone`, `card`, `national_id`), and where: start and end in the text."""


def find(text: str) -> Iterator[Found]:
    """Run by run; in a run cards, then identity numbers, then telephones. They may overlap: the first counts."""
    digits = text.encode("ascii", "replace").translate(_DIGITS)  # as long as the text
    for run in _RUN.finditer(text, max(0, digits.find(b"9")), digits.rfind(b"9") + 1):
        start, end = run.span()
        while start > 0 and text[start - 1] in "+(":
            start -= 1
        size = end - start - len(_APART.findall(text, start, end))
        if size <= 8 and _DATE.match(text, start):
            continue
        said = cue(text, start)
        if said not in (Cue.OTHER, Cue.VERSION):
            if size >= 12:
                yield from _cards(text, start, end)
            if size >= 9:
                yield from _ids(text, start, end, said)
        yield from _phones(text, start, end, said)


def _alone(text: str, start: int, end: int) -> bool:
    """Whether a number is no part of a word, a decimal, a UUID or a longer chain of digits."""
    before = text[start - 1] if start else " "
    if before.isalnum() or before == "_":
        return False
    if before in "-./" and start > 1 and (text[start - 2].isalnum() or before == "."):
        return False
    after = text[end : end + 2]
    if after and (after[0].isalnum() or after[0] == "_"):
        return False
    return not (len(after) > 1 and after[0] in "-./" and after[1].isalnum())


# Cards.

_CARD = re.compile(
    r"(?:[0-9]{4}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3}(?![0-9]))?"
    r"|[0-9]{4}([ -])[0-9]{6}\2[0-9]{4,5}|[0-9]{12,19})"
    r"(?![0-9])"
)


def _cards(text: str, start: int, end: int) -> Iterator[Found]:
    for match in _CARD.finditer(text, start, end):
        digits = _APART.sub("", match[0])
        if _issuer(digits) and _checksums.luhn(digits) and _alone(text, *match.span()):
            yield "card", *match.span()


def _issuer(digits: str) -> bool:
    """Whether a network issues cards of this prefix and length (ISO/IEC 7812; the networks' own BIN tables)."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4":
        return size in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return size == 16
    if two in (34, 37):
        return size == 15
    if two in (30, 36, 38, 39):
        return size in (14, 16)
    if two in (35, 60, 62, 64, 65):
        return size in (16, 17, 18, 19)
    if four in (2131, 1800):
        return size == 15
    return two in (50, 56, 57, 58, 63, 67) and size in (12, 13, 14, 15, 16, 18, 19)


# Identity numbers.


def _born(digits: str) -> bool:
    """Swedish: a date of birth YYMMDD (days from 61 on are of coordination numbers), and Luhn."""
    month, day = int(digits[2:4]), int(digits[4:6]) % 60
    return 1 <= month <= 12 and 1 <= day <= 31 and _checksums.luhn(digits)


def _french(digits: str) -> bool:
    return 1 <= int(digits[3:5]) <= 42 and _checksums.nir(digits)


# Those whose shape and check digits are enough.
_SURE = re.compile(
    r"(?:(?P<us>[0-9]{3}-[0-9]{2}-[0-9]{4})|(?P<br>[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2})|(?P<se>[0-9]{6}-[0-9]{4})"
    r"|(?P<in>[2-9][0-9]{3}([ -])[0-9]{4}\5[0-9]{4})|(?P<ch>756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2})"
    r"|(?P<fr>[12] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}))(?![0-9])"
)
_SURE_CHECKS: dict[str, Callable[[str], bool]] = {
    "us": _checksums.us_ssn,
    "br": _checksums.cpf,
    "se": _born,
    "in": _checksums.verhoeff,
    "ch": _checksums.ahv,
    "fr": _french,
}
# Those that a word before them must name, by their number of digits.
_NAMED = re.compile(r"[0-9](?:[ .-]?[0-9]){8,11}(?![0-9])")
_NAMED_CHECKS: dict[int, tuple[Callable[[str], bool], ...]] = {
    9: (_checksums.us_ssn, _checksums.luhn, _checksums.bsn),  # Luhn: Canada
    10: (_checksums.nhs, _born),
    11: (_checksums.cpf, _checksums.pesel, _checksums.steuer_id),
    12: (_checksums.verhoeff, lambda digits: _born(digits[2:])),
}


def _ids(text: str, start: int, end: int, said: Cue | None) -> Iterator[Found]:
    for match in _SURE.finditer(text, start, end):
        check = _SURE_CHECKS[next(name for name in _SURE_CHECKS if match[name])]
        if check(_APART.sub("", match[0])) and _alone(text, *match.span()):
            yield "national_id", *match.span()
    if said is Cue.PERSON:
        for match in _NAMED.finditer(text, start, end):
            digits = _APART.sub("", match[0])
            if any(check(digits) for check in _NAMED_CHECKS[len(digits)]) and _alone(text, *match.span()):
                yield "national_id", *match.span()


# Telephones.

_GROUPED = re.compile(  # North America
    r"(?:1[ \-.])?(?:\([0-9]{3}\)[ \-.]?|[0-9]{3}([ \-.]))[0-9]{3}[ \-.][0-9]{4}(?![0-9])"
)
_NATIONAL = re.compile(r"\(?0[0-9]{1,5}\)?[ \-./]{0,2}[0-9](?:[ \-./]?[0-9]){4,9}+")
_DATE = re.compile(r"(?:19|20)[0-9]{2}[-./ ][0-9]{1,2}[-./ ][0-9]|[0-3]?[0-9][-./][0-3]?[0-9][-./](?:19|20)[0-9]{2}")
# A trunk 0, an area code, and groups of two digits or more: so most of the world writes numbers of its own country.
_TRUNK = re.compile(r"\(?0[1-9][0-9]{0,3}\)?(?:[ \-./]{1,2}[0-9]{2,8}){1,4}")


def _phones(text: str, start: int, end: int, said: Cue | None) -> Iterator[Found]:
    abroad = text[start] == "+" or text.startswith("00", start)
    if abroad and (last := _international(text, start, end)):
        yield "phone", start, _extended(text, last)
        return
    if _DATE.match(text, start):
        return
    some = False
    for shape, check in ((_GROUPED, _north_american), (_NATIONAL, _national)):
        for match in () if some else shape.finditer(text, start, end):
            first, last = match.start(), _extended(text, match.end())
            if check(match[0], said) and _alone(text, first, last):
                some = True
                yield "phone", first, last
    # Anything else that the words before it call a telephone.
    if not some and said is Cue.PHONE and end - start <= 24 and _alone(text, start, _extended(text, end)):
        yield "phone", start, _extended(text, end)


def _extended(text: str, end: int) -> int:
    match = _EXTENSION.match(text, end)
    return match.end() if match else end


def _international(text: str, start: int, end: int) -> int:
    """Where the number with a country code ends that starts here, 0 if there is none. Other digits may follow it."""
    after = _extended(text, end)
    if (start and text[start - 1].isalnum()) or text[after : after + 1].isalpha():
        return 0
    for _ in range(4):
        number = text[start:end]
        try:
            if phonenumbers.is_possible_number(phonenumbers.parse(number if number[0] == "+" else "+" + number[2:])):
                return end
        except phonenumbers.NumberParseException:
            return 0
        if (blank := number.rfind(" ")) < 0:
            return 0
        end = start + blank
    return 0


def _north_american(number: str, said: Cue | None) -> bool:
    """3-3-4 with dashes, dots or brackets is a telephone in practice; with blanks it may be any number."""
    return said is Cue.PHONE or (
        said not in (Cue.OTHER, Cue.VERSION, Cue.PERSON) and not number.replace(" ", "").isdigit()
    )


def _national(number: str, said: Cue | None) -> bool:
    if said is Cue.PHONE:
        return True
    return (
        said in (None, Cue.ADDRESS)
        and _TRUNK.fullmatch(number) is not None
        and 9 <= len(number) - len(_APART.findall(number)) <= 11
    )
