"""Keys, tokens and private keys by their shapes.

The issuers of today's keys give them prefixes so that they can be found. They are looked for where a long run of
letters and digits begins, which few texts have. The shapes are those that the issuers publish for secret scanning, or
that GitHub's and GitLab's scanners use.
"""

import re
from collections.abc import Iterator

Found = tuple[str, int, int]

_KEYS = (
    r"AKIA[0-9A-Z]{16}(?![0-9A-Za-z])",
    r"ASIA[0-9A-Z]{16}(?![0-9A-Za-z])",
    r"ghp_[0-9A-Za-z]{36,255}",
    r"gho_[0-9A-Za-z]{36,255}",
    r"ghu_[0-9A-Za-z]{36,255}",
    r"ghs_[0-9A-Za-z]{36,255}",
    r"ghr_[0-9A-Za-z]{36,255}",
    r"github_pat_[0-9A-Za-z_]{60,255}",
    r"glpat-[0-9A-Za-z_-]{20,64}",
    r"xox[abeoprs]-[0-9A-Za-z-]{10,250}",
    r"xapp-[0-9A-Za-z-]{20,250}",
    r"AIza[0-9A-Za-z_-]{35}",
    r"GOCSPX-[0-9A-Za-z_-]{28}",
    r"sk_live_[0-9A-Za-z]{16,250}",
    r"sk_test_[0-9A-Za-z]{16,250}",
    r"rk_live_[0-9A-Za-z]{16,250}",
    r"whsec_[0-9A-Za-z+/=]{24,100}",
    r"sk-(?:ant-|proj-|svcacct-|or-v1-)?(?=[A-Za-z_-]{0,80}[0-9])[0-9A-Za-z_-]{20,250}",
    r"gsk_[0-9A-Za-z]{40,100}",
    r"xai-[0-9A-Za-z]{60,100}",
    r"hf_[0-9A-Za-z]{30,40}(?![0-9A-Za-z])",
    r"r8_[0-9A-Za-z]{35,40}(?![0-9A-Za-z])",
    r"npm_[0-9A-Za-z]{36}(?![0-9A-Za-z])",
    r"pypi-AgE[0-9A-Za-z_-]{50,500}",
    r"dop_v1_[0-9a-f]{64}",
    r"dapi[0-9a-f]{32}(?![0-9a-f])",
    r"shpat_[0-9a-fA-F]{32}",
    r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
)
# With a mark inside, so that they are no run of letters and digits.
_MARKED = {
    "hooks.slack.com/": re.compile(r"hooks\.slack\.com/services/[0-9A-Z]{8,}/[0-9A-Z]{8,}/[0-9A-Za-z]{20,}"),
    "ya29.": re.compile(r"ya29\.[0-9A-Za-z_-]{20,1024}"),
    "SG.": re.compile(r"SG\.[0-9A-Za-z_-]{22}\.[0-9A-Za-z_-]{43}"),
    "hvs.": re.compile(r"hvs\.[0-9A-Za-z_-]{24,250}"),
    "AccountKey=": re.compile(r"AccountKey=[0-9A-Za-z+/]{80,90}={0,2}"),
}
_KEY = re.compile("|".join(_KEYS))

_JWT = re.compile(r"eyJ(?<![0-9A-Za-z_-]eyJ)[0-9A-Za-z_-]{8,8192}+\.eyJ[0-9A-Za-z_-]{4,8192}+\.[0-9A-Za-z_-]{0,2048}")
_PRIVATE = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_END = re.compile(r"-----END [A-Z0-9 ]{0,40}-----")
_PRIVATE_CHARS = 16_384  # a 16,384-bit RSA key in PEM is some 12,800
_IN_URL = re.compile(r"://[^\s/@:]{1,64}+:([^\s/@:]{3,128}+)@")
_NAMES = ("secret", "passw", "token", "key")
_VALUE = re.compile(r"[\w.-]{0,16}[\"'`]? ?(?:=|:)>?=? ?[\"'`]?([0-9A-Za-z+/_=.~!@#$%^&*-]{16,128})")
_KEY_OF = re.compile(r"(?:api|access|secret|private|auth|signing|encryption|account|master|shared)[ _-]?$")
_LEAST = b"x" * 16  # no key, token or password that is looked for has fewer characters in a row
_LONG = re.compile(b"x{16,}")
_TOKEN = bytes(120 if (byte < 128 and chr(byte).isalnum()) or byte in b"_-" else 32 for byte in range(256))


def find(text: str) -> Iterator[Found]:
    """Kinds `api_key`, `jwt`, `private_key`, `password`; those of one kind in order of start."""
    runs = text.encode("ascii", "replace").translate(_TOKEN)
    if _LEAST in runs:  # a tenth of the time that the expression takes to find none
        yield from _keys(text, [run.start() for run in _LONG.finditer(runs)])
        if "eyJ" in text:
            for match in _JWT.finditer(text):
                yield "jwt", *match.span()
        yield from _named(text)
    if "-----BEGIN" in text:
        yield from _private(text)
    if "://" in text and "@" in text:
        for match in _IN_URL.finditer(text):
            yield "password", *match.span(1)


def _keys(text: str, runs: list[int]) -> Iterator[Found]:
    """`runs`: where long runs of letters, digits, `_` and `-` begin. Most keys are one; a dash may stand before it."""
    for start in runs:
        while text[start] in "-_":
            start += 1
            if start == len(text):
                return
        if match := _KEY.match(text, start):
            yield "api_key", *match.span()
    for mark, shape in _MARKED.items():
        at = text.find(mark)
        while at >= 0:
            match = shape.match(text, at)
            if match and not text[max(0, at - 1) : at].isalnum():
                yield "api_key", *match.span()
            at = text.find(mark, match.end() if match else at + len(mark))


def _named(text: str) -> Iterator[Found]:
    """What is assigned to a name like `api_key` or `password` and looks drawn."""
    lowered = text.lower() if text.isascii() else text  # lower() may change the length of others
    for name in _NAMES:
        at = lowered.find(name)
        while at >= 0:
            after = at + len(name)
            if name != "key" or _KEY_OF.search(lowered[max(0, at - 12) : at]):
                match = _VALUE.match(text, after)
                if match and _random(match[1]):
                    yield "api_key", *match.span(1)
            at = lowered.find(name, after)


def _private(text: str) -> Iterator[Found]:
    """From the header to the footer; the header alone if there is no footer where it could be."""
    end, footer = 0, 0
    for match in _PRIVATE.finditer(text):
        if match.start() < end:
            continue
        if 0 <= footer < match.end():
            footer = text.find("-----END ", match.end())
        last = _PRIVATE_END.match(text, footer) if match.end() <= footer < match.end() + _PRIVATE_CHARS else None
        end = last.end() if last else match.end()
        yield "private_key", match.start(), end


def _random(value: str) -> bool:
    """Whether it looks drawn, not written: digits among letters of both cases, or hexadecimal; few repeat."""
    letters = [char for char in value if char.isalpha()]
    digits = sum(map(str.isdigit, value))
    if digits < 3 or len(letters) < 4 or len(set(value)) < 10:
        return False
    mixed = any(map(str.isupper, letters)) and any(map(str.islower, letters))
    return mixed or all(char in "abcdefABCDEF" for char in letters)
