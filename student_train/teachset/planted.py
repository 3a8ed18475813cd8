"""How much the scrubber finds: made-up personal data, planted where it is known, scrubbed, and looked for again.

Values of ten kinds, drawn by Faker from ten locales, go into five places (system prompt, message, answer, arguments of
a tool, result of a tool) of copies of texts that are clean. One copy gets five values that have nothing to do with each
other, one a place, so that none of them gives another away.

A value counts as found only if nothing of it is left: no word of a name or address, no four digits of a number. What is
missing of the other words was masked without need.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

from msgspec import Struct
from msgspec.structs import replace

from student_train.teachset import planted_sentences
from student_train.teachset.placeholders import PLACEHOLDER, Placeholders
from student_train.teachset.planted_sentences import HELD_OUT, TUNED, Sentences
from student_train.teachset.scrub import Scrubber
from student_train.teachset.scrub_chat import Chat, changed

Place = Literal["system", "user", "assistant", "tool_arguments", "tool_results"]
PLANTED = planted_sentences.KINDS
PLACES: tuple[Place, ...] = get_args(Place)
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "pt_BR", "pl_PL", "sv_SE")
SENTENCES = {"held out": HELD_OUT, "tuned": TUNED}


class Plant(Struct, frozen=True):
    kind: str
    place: Place
    value: str
    sentence: str


class Outcome(Struct, frozen=True):
    """`left`: what of the value is still there, "" if it was found."""

    plant: Plant
    left: str


class Measured(Struct, frozen=True):
    """`clean`: how many words had no personal data in them, `lost`: how many of those were masked."""

    outcomes: tuple[Outcome, ...]
    clean: int
    lost: int

    def recall(self, kind: str | None = None, place: Place | None = None) -> tuple[int, int]:
        """Found, and planted."""
        its = [one for one in self.outcomes if kind in (None, one.plant.kind) and place in (None, one.plant.place)]
        return sum(not one.left for one in its), len(its)


def measure(
    chats: Sequence[Chat], copies: int, seed: int, sentences: Sentences, keep: re.Pattern[str] | None
) -> Measured:
    """`chats` are taken in turn. The same for the same seed."""
    values = _Values(seed)
    drawn = random.Random(f"planted {seed}")  # noqa: S311 - no secret
    outcomes: list[Outcome] = []
    clean = lost = 0
    for number in range(copies):
        base = chats[number % len(chats)]
        planted, plants = base, []
        for at, place in enumerate(PLACES):
            kind = PLANTED[(number + 3 * at + number // len(PLANTED)) % len(PLANTED)]
            value = values.draw(kind)
            planted, sentence = _plant(planted, place, kind, value, sentences, drawn)
            plants.append(Plant(kind, place, value, sentence))
        scrubbed = scrub_alone(planted, keep)
        before, after = _text(planted), _text(scrubbed)
        outcomes += [Outcome(plant, left(plant, _text(base) + plant.sentence, after)) for plant in plants]
        for plant in plants:
            before = before.replace(plant.value, " ").replace(json.dumps(plant.value)[1:-1], " ")
        words = Counter(_words(before))
        clean += words.total()
        lost += (words - Counter(_words(after))).total()
    return Measured(tuple(outcomes), clean, lost)


def scrub_alone(chat: Chat, keep: re.Pattern[str] | None) -> Chat:
    """A chat as a session of its own, everything masked."""
    scrubber = Scrubber(Placeholders(lambda text: text, ""), keep, lambda where, kind: "mask")
    changed(chat, lambda where, text: _learned(scrubber, text))
    return changed(chat, scrubber.mask)


def _learned(scrubber: Scrubber, text: str) -> str:
    scrubber.learn(text)
    return text


# Values.

_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_KEY_SHAPES = (
    ("sk-proj-", 48),
    ("ghp_", 36),
    ("sk_live_", 24),
    ("AIza", 35),
    ("glpat-", 20),
    ("hf_", 34),
    ("npm_", 36),
)


class _Values:
    """Mutable state: the generators, each by its own seed."""

    def __init__(self, seed: int) -> None:
        try:
            from faker import Faker
        except ImportError:
            raise ValueError("planting needs Faker: pip install 'understudy[teachset]'") from None
        self._drawn = random.Random(f"values {seed}")  # noqa: S311 - no secret
        self._fakers = []
        for at, locale in enumerate(LOCALES):
            self._fakers.append(Faker(locale))
            self._fakers[-1].seed_instance(seed * 100 + at)

    def draw(self, kind: str) -> str:
        fake = self._drawn.choice(self._fakers)
        make: Callable[[Any], str] = getattr(self, f"_{kind}")
        return make(fake)

    def _name(self, fake: Any) -> str:
        return str(self._drawn.choice((fake.name, lambda: f"{fake.first_name()} {fake.last_name()}"))())

    def _email(self, fake: Any) -> str:
        return str(self._drawn.choice((fake.email, fake.company_email, fake.free_email))())

    def _phone(self, fake: Any) -> str:
        return str(fake.phone_number())

    def _card(self, fake: Any) -> str:
        number = str(fake.credit_card_number(self._drawn.choice(("visa16", "mastercard", "amex", "discover"))))
        return _grouped(number) if len(number) == 16 and self._drawn.random() < 0.5 else number

    def _iban(self, fake: Any) -> str:
        number = str(fake.iban())
        return number if self._drawn.random() < 0.5 else _grouped(number)

    def _address(self, fake: Any) -> str:
        address = str(fake.address()).strip()
        return address if self._drawn.random() < 0.3 else re.sub(r"\s*\n\s*", ", ", address)

    def _national_id(self, fake: Any) -> str:
        if fake.locales[0] == "es_ES":
            return str(self._drawn.choice((fake.nif, fake.nie))())
        return str(fake.ssn())

    def _birth_date(self, fake: Any) -> str:
        day = fake.date_of_birth(minimum_age=18, maximum_age=90)
        return str(day.strftime(self._drawn.choice(("%d/%m/%Y", "%Y-%m-%d", "%d.%m.%Y", "%d %B %Y", "%B %d, %Y"))))

    def _ip(self, fake: Any) -> str:
        return str(fake.ipv6() if self._drawn.random() < 0.25 else fake.ipv4_public())

    def _secret(self, fake: Any) -> str:
        which = self._drawn.random()
        if which < 0.5:
            return str(fake.password(length=self._drawn.randint(10, 16)))
        if which < 0.65:
            return "eyJhbGciOiJIUzI1NiJ9.eyJ" + self._random(30) + "." + self._random(43)
        prefix, size = self._drawn.choice(_KEY_SHAPES)
        return prefix + self._random(size)

    def _random(self, size: int) -> str:
        return "".join(self._drawn.choices(_ALNUM, k=size))


def _grouped(number: str) -> str:
    return " ".join(number[at : at + 4] for at in range(0, len(number), 4))


# Planting.


def _plant(
    chat: Chat, place: Place, kind: str, value: str, sentences: Sentences, drawn: random.Random
) -> tuple[Chat, str]:
    if place in ("tool_arguments", "tool_results"):
        table = sentences.arguments if place == "tool_arguments" else sentences.results
        template = drawn.choice(table[kind])
        return _with_json(chat, place, template.replace("{}", json.dumps(value)[1:-1])), template
    sentence = drawn.choice(sentences.prose[kind])
    return _with_prose(chat, place, sentence.replace("{}", value), drawn), sentence


def _with_prose(chat: Chat, place: Place, said: str, drawn: random.Random) -> Chat:
    if place == "assistant" and chat.served is not None and not chat.served.startswith(("{", "[")):
        return replace(chat, served=_joined(chat.served, said, drawn))
    messages = list(chat.messages)
    its = [
        at
        for at, message in enumerate(messages)
        if message["role"] == place and isinstance(message["content"], str) and not message["content"].startswith("{")
    ]
    if its:
        at = its[-1]
        messages[at] = {**messages[at], "content": _joined(messages[at]["content"], said, drawn)}
    else:
        messages.insert(0 if place == "system" else len(messages), {"role": place, "content": said})
    return replace(chat, messages=tuple(messages))


def _joined(text: str, said: str, drawn: random.Random) -> str:
    """After the text as a line or paragraph of its own, or behind its last sentence."""
    return text + drawn.choice(("\n", "\n\n", " ")) + said


def _with_json(chat: Chat, place: Place, planted: str) -> Chat:
    messages = list(chat.messages)
    where = next((at for at, message in enumerate(messages) if message.get("tool_calls")), None)
    if where is None:
        call = {"id": "planted", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
        messages += [
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "planted", "content": "{}"},
        ]
        where = len(messages) - 2
    if place == "tool_arguments":
        call = messages[where]["tool_calls"][0]
        called = {**call["function"], "arguments": _with_fields(call["function"]["arguments"], planted)}
        messages[where] = {
            **messages[where],
            "tool_calls": [{**call, "function": called}, *messages[where]["tool_calls"][1:]],
        }
    else:
        at = next((at for at in range(where, len(messages)) if messages[at]["role"] == "tool"), None)
        if at is None:
            messages.append({"role": "tool", "tool_call_id": "planted", "content": planted})
        else:
            messages[at] = {**messages[at], "content": _with_fields(messages[at]["content"], planted)}
    return replace(chat, messages=tuple(messages))


def _with_fields(old: str, planted: str) -> str:
    try:
        before, added = json.loads(old), json.loads(planted)
    except ValueError:
        return f"{old}\n{planted}"
    if isinstance(before, dict):
        merged = {**before, **(added if isinstance(added, dict) else {"more": added})}
    else:
        merged = {"before": before, "more": added}
    return json.dumps(merged, ensure_ascii=False)


# Looking for it again.

_TITLES = (
    "mr mrs ms miss dr mx prof jr sr md dds dvm phd ii iii iv dott sig sra srta herr frau ing univ mba pan pani "
    "dipl med eng sc"
)
_NO_NAME = frozenset(_TITLES.split())
_WORD = re.compile(r"\w+")


def _words(text: str) -> Iterator[str]:
    return iter(_WORD.findall(PLACEHOLDER.sub(" ", text)))


def left(plant: Plant, around: str, scrubbed: str) -> str:
    """What of a planted value is left in the scrubbed text; words that are `around` it anyway do not count."""
    if plant.kind in ("name", "address", "birth_date"):
        others, words = set(_words(around)), set(_words(scrubbed))
        for word in _WORD.findall(plant.value):
            tells = len(word) >= 3 or (word.isdigit() and len(word) >= 2)
            if tells and word.lower() not in _NO_NAME and word not in others and word in words:
                return str(word)
        return ""
    if plant.kind in ("phone", "card", "iban", "national_id"):
        digits = "".join(char for char in plant.value if char.isdigit())
        bare = re.sub(r"[ \-./()]", "", scrubbed)
        return next((digits[at : at + 6] for at in range(len(digits) - 5) if digits[at : at + 6] in bare), "")
    if plant.kind == "email":
        local: str = plant.value.partition("@")[0]
        return local if f"{local}@" in scrubbed else ""
    half = len(plant.value) // 2 + 1  # of a secret or an IP address
    value = plant.value
    shown = {scrubbed, scrubbed.replace("\\\\", "\\").replace('\\"', '"')}
    halves = (value[at : at + half] for at in range(len(value) - half + 1))
    return next((part for part in halves if any(part in text for text in shown)), "")


def _text(chat: Chat) -> str:
    """All that a model reads or writes of it, as one."""
    texts: list[str] = []

    def see(where: str, text: str) -> str:
        texts.append(text)
        return text

    changed(chat, see)
    return "\n".join(texts)
