"""Personal data and secrets in a text: `find(text)`, pure, in time linear in its length.

The policy check looks through answers with it, and the same pack cleans what is kept of a request or given to a student
to learn from. Patterns, check digits and, for what is ambiguous, the word before it: no model, no network. Names,
places and addresses are not looked for: without a model the misses and false alarms would outnumber the finds.

Kinds: email, phone, card, iban, national_id, ipv4, ipv6, jwt, api_key, private_key, password.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from msgspec import Struct

from router_policies.checks import _checksums, _pii_numbers, _pii_secrets
from router_policies.checks._pii_context import Cue, cue

Found = tuple[str, int, int]
"""A kind, and where: start and end in the text."""

SECRETS = frozenset({"api_key", "jwt", "private_key", "password"})


class Span(Struct, frozen=True):
    """`text[start:end]` is of that kind."""

    kind: str
    start: int
    end: int


def find(text: str) -> list[Span]:
    """In order of start; none overlap: of two that do, the one that is looked for first stays."""
    plain = _plain(text)
    shape = plain.encode("ascii", "replace").translate(_SHAPE, _SMALL)
    found: list[Span] = []
    taken = bytearray(len(text))
    for marks, look in _LOOKS:
        for mark in marks:
            if mark in shape:
                break
        else:
            continue
        for kind, start, end in look(plain):
            if 1 not in taken[start:end]:
                taken[start:end] = b"\1" * (end - start)
                found.append(Span(kind, start, end))
    found.sort(key=_start)
    return found


_start = attrgetter("start")

_TYPOGRAPHIC = dict.fromkeys("\u00a0\u2007\u2009\u202f", " ") | dict.fromkeys("\u2010\u2011\u2012\u2013", "-")


def _plain(text: str) -> str:
    """Blanks and dashes that models like to write numbers with become plain ones, one for one."""
    if not text.isascii():
        for typographic, plain in _TYPOGRAPHIC.items():
            if typographic in text:
                text = text.replace(typographic, plain)
    return text


# Every digit as 9, every capital as A, without the small letters: what has no `AA99` in it has no IBAN. Looking for
# that takes a thousandth of the time that looking for IBANs does. Marks have no small letters, so none is missed; one
# that is only there because what stood between is gone costs a look in vain.
_SHAPE = bytes(57 if 48 <= byte < 58 else 65 if 65 <= byte < 91 else byte for byte in range(256))
_SMALL = bytes(range(97, 123))


# E-mail.

_LOCAL = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.!#$%&'*+-/=?^_`{|}~"
)  # RFC 5321 dot-atom
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.){1,8}([^\W\d_]{2,24}|xn--[0-9a-z-]{2,59})(?![\w@])")
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "webp", "svg", "css", "js", "ts", "mjs", "html", "json", "py", "sh"})


def _emails(text: str) -> Iterator[Found]:
    at = text.find("@")
    while at >= 0:
        if (domain := _DOMAIN.match(text, at + 1)) and domain[1].lower() not in _FILES:
            start = at
            while start > 0 and at - start < 64 and (text[start - 1] in _LOCAL or text[start - 1].isalnum()):
                start -= 1
            while start < at and text[start] in ".'`*/|=?{}&#-":
                start += 1
            start = max(
                start, text.rfind("=", start, at) + 1, text.rfind("/", start, at) + 1, text.rfind("|", start, at) + 1
            )
            local = text[start:at]
            if (
                local
                and local[-1] != "."
                and not (local == "git" and text[domain.end() : domain.end() + 1] in (":", "/"))
            ):
                yield "email", start, domain.end()
        at = text.find("@", at + 1)


# IBAN.

_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?:[ -]?[0-9A-Z]){11,30}")
_IBAN_SIZES = {
    size: frozenset(countries.split())
    for size, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM", 28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
}  # fmt: skip
_IBAN_SIZE = {
    country: size for size, countries in _IBAN_SIZES.items() for country in countries
}  # SWIFT's IBAN registry


def _ibans(text: str) -> Iterator[Found]:
    for match in _IBAN.finditer(text):
        size = _IBAN_SIZE.get(match[0][:2])
        before = text[match.start() - 1] if match.start() else " "
        if size is None or before.isalnum():
            continue
        end, seen = match.start(), 0
        while seen < size and end < match.end():
            seen += text[end] not in " -"
            end += 1
        after = text[end : end + 1]
        if seen == size and not after.isalnum() and _checksums.iban(re.sub("[ -]", "", text[match.start() : end])):
            yield "iban", match.start(), end


# Identity numbers with letters: the ones of digits alone are with the other numbers.

_SPANISH = re.compile(r"(?:[0-9]{8}|[XYZ]-?[0-9]{7})-?[A-HJ-NP-TV-Z](?![0-9A-Za-z])")
_ITALIAN = re.compile(r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z](?![0-9A-Za-z])")
_BRITISH = re.compile(r"[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?([A-Z])(?![0-9A-Za-z])")
_NO_NINO = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})  # HMRC, NIM39110: prefixes never given out
_FINNISH = re.compile(r"[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-FHJ-NPR-Y](?![0-9A-Za-z])")


def _spanish(text: str) -> Iterator[Found]:
    return _lettered(text, _SPANISH, lambda it: _checksums.dni(it[0].replace("-", "")))


def _italian(text: str) -> Iterator[Found]:
    return _lettered(text, _ITALIAN, lambda it: _checksums.codice_fiscale(it[0]))


def _british(text: str) -> Iterator[Found]:
    """No check digit: one that was never given out needs a word before it that names it."""

    def check(it: re.Match[str]) -> bool:
        given = it[1] <= "D" and it[0][:2] not in _NO_NINO
        return given or cue(text, it.start()) is Cue.PERSON

    return _lettered(text, _BRITISH, check)


def _finnish(text: str) -> Iterator[Found]:
    return _lettered(text, _FINNISH, lambda it: _checksums.hetu(it[0]))


def _lettered(text: str, shape: re.Pattern[str], check: Callable[[re.Match[str]], bool]) -> Iterator[Found]:
    for match in shape.finditer(text):
        if not text[max(0, match.start() - 1) : match.start()].isalnum() and check(match):
            yield "national_id", *match.span()


# Internet addresses.

_IPV4 = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9A-Za-z_]|\.[0-9])")
_IPV6 = re.compile(r":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:|::")
_IPV6_CHARS = frozenset("0123456789abcdefABCDEF:")


def _ipv4(text: str) -> Iterator[Found]:
    """Not the unspecified, loopback and mask addresses, which are nobody's, nor what is called a version."""
    for match in _IPV4.finditer(text):
        before = text[max(0, match.start() - 2) : match.start()]
        if before and (before[-1].isalnum() or before[-1] in "_.§" or (before[-1] == "/" and before[0].isalnum())):
            continue  # `Chrome/120.0.6.9`
        parts = match[0].split(".")
        if (
            all(int(part) <= 255 and (part == "0" or part[0] != "0") for part in parts)
            and parts[0] not in ("0", "127", "255")
            and cue(text, match.start()) is not Cue.VERSION
        ):
            yield "ipv4", *match.span()


def _ipv6(text: str) -> Iterator[Found]:
    end = 0
    for match in _IPV6.finditer(text):
        start = match.start()
        if start < end:
            continue
        end = match.end()
        while start > 0 and match.start() - start < 40 and text[start - 1] in _IPV6_CHARS:
            start -= 1
        while end < len(text) and end - start < 48 and text[end] in _IPV6_CHARS:
            end += 1
        if text[end - 1] == ":" and text[end - 2] != ":":
            end -= 1  # `fe80::1: no route`
        around = text[max(0, start - 1) : start] + text[end : end + 1]
        if not any(char.isalnum() or char in "_:" for char in around) and _is_ipv6(text[start:end]):
            yield "ipv6", start, end


def _is_ipv6(text: str) -> bool:
    """Three groups at least: `a::b` is more often a name of C++ or Rust."""
    if sum(map(bool, text.split(":"))) < 3:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


# What a text's shape must have in it for the look to be worth its time.
_LOOKS: tuple[tuple[tuple[bytes, ...], Callable[[str], Iterable[Found]]], ...] = (
    ((b"",), _pii_secrets.find),
    ((b"@",), _emails),
    ((b"AA99",), _ibans),
    ((b"9999999A", b"9999999-A"), _spanish),
    ((b"AAAAAA99A99A999A",), _italian),
    ((b"AA99", b"AA 99"), _british),
    ((b"999999-9", b"999999+9", b"999999A9"), _finnish),
    ((b"9.9",), _ipv4),
    ((b":",), _ipv6),
    ((b"99",), _pii_numbers.find),
)
