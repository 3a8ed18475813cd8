"""What stands in a session's texts where personal data stood: `<EMAIL_1>`, `<NAME_2>`.

One table a session. The same value gets the same placeholder wherever it is in the session, in whatever way it is
written: a model that is taught must still see that the address in the message is the one in the tool's result. Numbers
go by first appearance, so they say nothing of the value, and two sessions share nothing: `<EMAIL_1>` of one is somebody
else than that of another.

The values themselves are in memory only while a session is read. What is kept is a hash of each under the key of the
set and the name of the session, so that a session that goes on in tomorrow's traces keeps its placeholders. Who has the
set's secret can test guesses against these hashes: they are pseudonyms, not anonymous, and are erased with the person.
"""

import re
from collections.abc import Callable, Iterator, Mapping

Kind = str
KINDS = (
    "name", "email", "phone", "card", "iban", "national_id", "ip", "address", "birth_date", "user", "secret",
)  # fmt: skip
"""`iban`: account numbers of all sorts; `user`: names that people log in under; `secret`: keys, tokens, passwords."""

PLACEHOLDER = re.compile(rf"<({'|'.join(kind.upper() for kind in KINDS)})_([1-9][0-9]{{0,5}})>")

_NOT_IN_NUMBERS = re.compile(r"[\s\-./()]+")
_BLANKS = re.compile(r"\s+")
_PHONE_DIGITS = 9  # `+44 7700 900123` and `07700 900123` end in the same nine


def normal(kind: Kind, value: str) -> str:
    """Two ways to write one value become one. Secrets stay as they are: their case and blanks count."""
    if kind == "secret":
        return value
    if kind in ("card", "iban", "national_id"):
        return _NOT_IN_NUMBERS.sub("", value).upper()
    if kind == "phone":
        digits = re.sub(r"\D", "", value)
        return digits[-_PHONE_DIGITS:] if len(digits) > _PHONE_DIGITS else digits
    return _BLANKS.sub(" ", value.replace(",", " ")).strip(" .").casefold()


class Placeholders:
    """The table of one session. Mutable state: the placeholder of each hash, and the highest number of each kind.

    `keyed` is a keyed hash (`TeachingSet.pseudonym`); `session` makes it one of this session alone.
    """

    def __init__(self, keyed: Callable[[str], str], session: str, stored: Mapping[str, str] | None = None) -> None:
        self._keyed = keyed
        self._session = session
        self._by_hash = dict(stored or {})
        self._begun = bool(stored)
        self._highest: dict[Kind, int] = {}
        self._hashes: dict[tuple[Kind, str], str] = {}
        for placeholder in self._by_hash.values():
            self._see(placeholder)

    def reserve(self, text: str) -> None:
        """What looks like a placeholder in a text that comes in stays there and is given to nobody else."""
        for match in PLACEHOLDER.finditer(text):
            self._see(match[0])

    def of(self, kind: Kind, value: str) -> str:
        found = self._by_hash.get(hashed := self._hash(kind, value))
        if found is None:
            self._highest[kind] = number = self._highest.get(kind, 0) + 1
            self._by_hash[hashed] = found = f"<{kind.upper()}_{number}>"
        return found

    @property
    def continues(self) -> bool:
        """Whether the session was begun in an earlier run."""
        return self._begun

    def known(self, kind: Kind, value: str) -> bool:
        """Whether an earlier text of the session, perhaps in an earlier run, had this value."""
        return self._hash(kind, value) in self._by_hash

    def same(self, kind: Kind, value: str, other: str) -> None:
        """`other` is another way to call what `value` is: of a person's full name the first name."""
        self._by_hash.setdefault(self._hash(kind, other), self.of(kind, value))

    def stored(self) -> dict[str, str]:
        """What may be kept: hash to placeholder."""
        return dict(sorted(self._by_hash.items()))

    def _see(self, placeholder: str) -> None:
        if match := PLACEHOLDER.fullmatch(placeholder):
            kind = match[1].lower()
            self._highest[kind] = max(self._highest.get(kind, 0), int(match[2]))

    def _hash(self, kind: Kind, value: str) -> str:
        known = (kind, normal(kind, value))
        if known not in self._hashes:
            self._hashes[known] = self._keyed(f"placeholder\0{self._session}\0{kind}\0{known[1]}")
        return self._hashes[known]


def placeholders(text: str) -> Iterator[tuple[Kind, int, int]]:
    for match in PLACEHOLDER.finditer(text):
        yield match[1].lower(), match.start(), match.end()
