"""Texts with personal data and secrets planted in them, and with numbers beside that only look like it.

Faker draws the values, by a seed, from ten locales; ten layouts hold them. What is planted is known by construction, so
precision and recall are counted, not judged.
"""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from faker import Faker

LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "en_AU", "pl_PL", "sv_SE")


@dataclass(frozen=True, slots=True)
class Planted:
    """`values`: a kind and the string that was planted. `text` has each of them once."""

    layout: str
    text: str
    values: tuple[tuple[str, str], ...]


def planted(seed: int, documents: int) -> Iterator[Planted]:
    drawn = random.Random(seed)
    fakers = {}
    for number, locale in enumerate(LOCALES):
        fakers[locale] = Faker(locale)
        fakers[locale].seed_instance(seed * 100 + number)
    for number in range(documents):
        layout = list(LAYOUTS)[number % len(LAYOUTS)]
        fake = fakers[drawn.choice(LOCALES)]
        kinds = drawn.sample(list(KINDS), 4)
        values = [(kind, label, make(fake, drawn)) for kind in kinds for label, make in [drawn.choice(KINDS[kind])]]
        decoys = [(label, make(drawn)) for label, make in drawn.sample(DECOYS, 4)]
        lines = [(label, value) for _, label, value in values] + decoys
        drawn.shuffle(lines)
        text = LAYOUTS[layout](lines, fake)
        yield Planted(layout, text, tuple((kind, value) for kind, _, value in values))


def _card(fake: Faker, drawn: random.Random) -> str:
    number: str = fake.credit_card_number(card_type=drawn.choice(("visa16", "mastercard", "amex", "discover", "visa")))
    if len(number) == 16 and drawn.random() < 0.5:
        return drawn.choice(" -").join(number[at : at + 4] for at in range(0, 16, 4))
    return number


def _iban(fake: Faker, drawn: random.Random) -> str:
    number: str = fake.iban()
    return number if drawn.random() < 0.5 else " ".join(number[at : at + 4] for at in range(0, len(number), 4))


def _random_text(drawn: random.Random, size: int, letters: str) -> str:
    return "".join(drawn.choices(letters, k=size))


_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def _jwt(fake: Faker, drawn: random.Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": fake.user_name(), "iat": drawn.randrange(10**9)})
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*coded, _random_text(drawn, 43, _ALNUM + "-_")])


def _key(fake: Faker, drawn: random.Random) -> str:
    shapes: list[tuple[str, int, str]] = [
        ("AKIA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        ("ghp_", 36, _ALNUM),
        ("AIza", 35, _ALNUM),
        ("sk_live_", 24, _ALNUM),
        ("sk-proj-", 48, _ALNUM),
        ("xoxb-", 40, "0123456789"),
        ("glpat-", 20, _ALNUM),
        ("hf_", 34, _ALNUM),
        ("npm_", 36, _ALNUM),
    ]
    prefix, size, letters = drawn.choice(shapes)
    return prefix + _random_text(drawn, size, letters)


def _private_key(fake: Faker, drawn: random.Random) -> str:
    name = drawn.choice(("RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "EC PRIVATE KEY"))
    body = "\\n".join(_random_text(drawn, 64, _ALNUM + "+/") for _ in range(3))
    return f"-----BEGIN {name}-----\\n{body}\\n-----END {name}-----"


def _national_id(fake: Faker, drawn: random.Random) -> str:
    locale = fake.locales[0]
    value: str = (
        fake.nie() if locale == "es_ES" and drawn.random() < 0.5 else fake.nif() if locale == "es_ES" else fake.ssn()
    )
    return value


_Make = Callable[[Faker, random.Random], str]
KINDS: dict[str, list[tuple[str, _Make]]] = {
    "email": [("Email", lambda fake, _: fake.email()), ("Contact", lambda fake, _: fake.company_email())],
    "phone": [
        ("Phone", lambda fake, _: fake.phone_number()),
        ("Mobile", lambda fake, _: fake.phone_number()),
        ("Tel", lambda fake, _: fake.phone_number()),
    ],
    "card": [("Card", _card), ("Payment card", _card)],
    "iban": [("IBAN", _iban), ("Bank details", _iban)],
    "national_id": [("National ID", _national_id), ("SSN", _national_id)],
    "ipv4": [("IP", lambda fake, _: fake.ipv4()), ("Host", lambda fake, _: fake.ipv4_private())],
    "ipv6": [("IPv6", lambda fake, _: fake.ipv6())],
    "jwt": [("Token", _jwt)],
    "api_key": [("Key", _key)],
    "private_key": [("Deploy", _private_key)],
}

DECOYS: list[tuple[str, Callable[[random.Random], str]]] = [
    ("Order", lambda drawn: str(drawn.randrange(10**9, 10**10))),
    ("Order", lambda drawn: f"{drawn.randrange(100, 1000)}-{drawn.randrange(10**7)}-{drawn.randrange(10**7)}"),
    ("Invoice", lambda drawn: f"INV-2024-{drawn.randrange(10**6):06}"),
    ("Version", lambda drawn: ".".join(str(drawn.randrange(30)) for _ in range(4))),
    ("Version", lambda drawn: f"v{drawn.randrange(9)}.{drawn.randrange(30)}.{drawn.randrange(3000)}"),
    ("Date", lambda drawn: f"{drawn.randrange(1990, 2030)}-{drawn.randrange(1, 13):02}-{drawn.randrange(1, 29):02}"),
    ("Date", lambda drawn: f"{drawn.randrange(1, 29):02}.{drawn.randrange(1, 13):02}.{drawn.randrange(1990, 2030)}"),
    (
        "Due",
        lambda drawn: (
            f"2024-{drawn.randrange(1, 13):02}-11T{drawn.randrange(24):02}:30:{drawn.randrange(60):02}.123456Z"
        ),
    ),
    ("Timestamp", lambda drawn: str(drawn.randrange(1_600_000_000, 1_800_000_000))),
    ("Created", lambda drawn: str(drawn.randrange(1_600_000_000_000, 1_800_000_000_000))),
    ("Commit", lambda drawn: _random_text(drawn, 40, "0123456789abcdef")),
    ("SHA-256", lambda drawn: _random_text(drawn, 64, "0123456789abcdef")),
    ("UUID", lambda drawn: "-".join(_random_text(drawn, size, "0123456789abcdef") for size in (8, 4, 4, 4, 12))),
    ("Price", lambda drawn: f"${drawn.randrange(10**6):,}.{drawn.randrange(100):02}"),
    ("Total", lambda drawn: f"{drawn.randrange(10**3, 10**7):,} EUR".replace(",", ".")),
    (
        "Tracking",
        lambda drawn: "1Z" + _random_text(drawn, 6, "ABCDEFGHJKLMN0123456789") + str(drawn.randrange(10**9, 10**10)),
    ),
    (
        "ISBN",
        lambda drawn: (
            f"978-{drawn.randrange(10)}-{drawn.randrange(100, 1000)}-{drawn.randrange(10**5):05}-{drawn.randrange(10)}"
        ),
    ),
    ("Handle", lambda drawn: f"@user{drawn.randrange(1000)}"),
    ("Package", lambda drawn: f"lodash@4.17.{drawn.randrange(30)}"),
    ("MAC", lambda drawn: ":".join(_random_text(drawn, 2, "0123456789abcdef") for _ in range(6))),
    ("Ratio", lambda drawn: f"0.{drawn.randrange(10**15)}"),
    ("Population", lambda drawn: f"{drawn.randrange(10**8, 10**9):,}".replace(",", " ")),
    ("Range", lambda drawn: f"{drawn.randrange(1900, 1990)}-{drawn.randrange(1990, 2030)}"),
    ("Location", lambda drawn: f"{drawn.uniform(-90, 90):.6f}, {drawn.uniform(-180, 180):.6f}"),
    ("Repository", lambda _: "git@github.com:acme/tools.git"),
    ("Image", lambda _: "banner@2x.png"),
    ("Time", lambda drawn: f"{drawn.randrange(24):02}:{drawn.randrange(60):02}:{drawn.randrange(60):02}"),
]

_Lines = list[tuple[str, str]]


def _prose(lines: _Lines, fake: Faker) -> str:
    return " ".join(f"{fake.sentence()[:-1]}, and the {label.lower()} is {value}." for label, value in lines)


def _letter(lines: _Lines, fake: Faker) -> str:
    return f"Dear {fake.first_name()},\n\nthank you for your message.\n" + "\n".join(
        f"{label}: {value}" for label, value in lines
    )


def _json(lines: _Lines, fake: Faker) -> str:
    return json.dumps({label.lower().replace(" ", "_"): value for label, value in lines}, indent=2).replace(
        "\\\\n", "\\n"
    )


def _csv(lines: _Lines, fake: Faker) -> str:
    return ",".join(label for label, _ in lines) + "\n" + ",".join(value.replace(",", "") for _, value in lines)


def _table(lines: _Lines, fake: Faker) -> str:
    head = "| " + " | ".join(label for label, _ in lines) + " |"
    rule = "|" + " --- |" * len(lines)
    return "\n".join([head, rule, "| " + " | ".join(value for _, value in lines) + " |"])


def _bullets(lines: _Lines, fake: Faker) -> str:
    return "Here is what I have on file:\n" + "\n".join(f"- **{label}:** {value}" for label, value in lines)


def _log(lines: _Lines, fake: Faker) -> str:
    return "\n".join(f"2024-05-17T10:21:33Z INFO app {label.lower()}={value}" for label, value in lines)


def _html(lines: _Lines, fake: Faker) -> str:
    return "<dl>" + "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in lines) + "</dl>"


def _yaml(lines: _Lines, fake: Faker) -> str:
    return "customer:\n" + "\n".join(f'  {label.lower().replace(" ", "-")}: "{value}"' for label, value in lines)


def _chat(lines: _Lines, fake: Faker) -> str:
    return "\n".join(f"{fake.first_name()}: my {label.lower()} → {value} ok?" for label, value in lines)


LAYOUTS: dict[str, Callable[[_Lines, Faker], str]] = {
    "prose": _prose,
    "letter": _letter,
    "json": _json,
    "csv": _csv,
    "table": _table,
    "bullets": _bullets,
    "log": _log,
    "html": _html,
    "yaml": _yaml,
    "chat": _chat,
}
