"""Made-up personal data: seeded, of ten kinds, with check digits that hold.

A scrubber is measured by what it finds of these, so they must look real to it: cards pass Luhn, IBANs mod 97, identity
numbers their own. Domains are those of RFC 2606, telephones those that regulators keep for
films (Ofcom, Bundesnetzagentur), IP addresses those of RFC 5737, cards begin with the test prefix 4242, streets and
towns are made up. Account and identity numbers are random: one may be somebody's by chance.
"""

# ruff: noqa: E501 - tables of sentences

from collections.abc import Callable
from random import Random
from string import ascii_lowercase

FIRST = ["Amara", "Tobias", "Ines", "Gareth", "Yuki", "Lukas", "Fatima", "Owen", "Priya", "Stefan", "Niamh", "Rafael", "Greta", "Samir", "Chloe", "Henrik", "Leila", "Marco", "Anouk", "Dylan", "Zofia", "Kwame", "Esther", "Jonas", "Mireille", "Callum", "Nadia", "Pieter", "Rosa", "Idris"]  # fmt: skip
LAST = ["Okafor", "Brandt", "Castellano", "Pryce", "Tanaka", "Vogel", "Haddad", "Mercer", "Raman", "Novak", "Gallagher", "Duarte", "Lindqvist", "Aziz", "Fontaine", "Dahl", "Moretti", "Visser", "Whitlock", "Kowalska", "Mensah", "Sandler", "Petit", "Drummond", "Ferreira", "Ashworth", "Keller", "Bakker", "Solano", "Farouk"]  # fmt: skip
_STREETS = (
    "Quarry Lane",
    "Alder Row",
    "Harbour Steps",
    "Mill Rise",
    "Chapel Yard",
    "Orchard Bank",
    "Fern Street",
    "Beacon Hill Road",
)
_TOWNS = ("Eastmere", "Hollin Bridge", "Saltwick", "Norburn", "Wexcombe", "Thornley Bay", "Ashgate", "Lower Penrith")

KINDS = ("name", "email", "phone", "card", "iban", "address", "national_id", "birth_date", "ip", "password")


def name(random: Random) -> str:
    return f"{random.choice(FIRST)} {random.choice(LAST)}"


def email(random: Random) -> str:
    first, last = random.choice(FIRST).lower(), random.choice(LAST).lower()
    local = random.choice(
        (f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}{random.randint(2, 99)}", f"{last}.{first}")
    )
    return f"{local}@{random.choice(('example.com', 'example.org', 'example.net', 'mail.example.com'))}"


def phone(random: Random) -> str:
    end = random.randint(0, 999)
    return random.choice(
        (
            f"07700 900{end:03}",
            f"+44 7700 900{end:03}",
            f"020 7946 0{end:03}",
            f"+49 30 23125 {end:03}",
            f"+44 20 7946 0{end:03}",
        )
    )


def card(random: Random) -> str:
    body = f"4242{random.randrange(10**11):011}"
    total = sum(int(digit) for digit in body[1::2]) + sum(sum(divmod(2 * int(digit), 10)) for digit in body[0::2])
    digits = f"{body}{-total % 10}"
    return random.choice((digits, " ".join(digits[at : at + 4] for at in range(0, 16, 4))))


def iban(random: Random) -> str:
    country, bank, size = random.choice((("DE", "", 18), ("FR", "", 23), ("GB", "NWBK", 14), ("ES", "", 20)))
    account = bank + "".join(str(random.randrange(10)) for _ in range(size))
    number = "".join(str(int(char, 36)) for char in f"{account}{country}00")
    text = f"{country}{98 - int(number) % 97:02}{account}"
    return random.choice((text, " ".join(text[at : at + 4] for at in range(0, len(text), 4))))


def address(random: Random) -> str:
    letters = "".join(random.choice("ABDEFGHJLNPQRSTUWXYZ") for _ in range(3))
    code = f"{letters[0]}{random.randint(1, 39)} {random.randint(1, 9)}{letters[1:]}"
    return f"{random.randint(1, 180)} {random.choice(_STREETS)}, {random.choice(_TOWNS)} {code}"


def national_id(random: Random) -> str:
    """A Spanish DNI or a British NHS number."""
    if random.random() < 0.5:
        number = random.randrange(10**7, 10**8)
        return f"DNI {number}{'TRWAGMYFPDXBNJZSQVHLCKE'[number % 23]}"
    while True:
        digits = f"{random.randrange(10**8, 10**9)}"
        check = 11 - sum(int(digit) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=True)) % 11
        if check != 10:
            return f"NHS number {digits[:3]} {digits[3:6]} {digits[6:]}{check % 11}"


def birth_date(random: Random) -> str:
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(1948, 2004)
    return f"{day:02}/{month:02}/{year}"


def ip(random: Random) -> str:
    """Of the blocks for documentation, RFC 5737."""
    return f"{random.choice(('192.0.2', '198.51.100', '203.0.113'))}.{random.randint(1, 254)}"


def password(random: Random) -> str:
    return (
        f"{''.join(random.choice(ascii_lowercase) for _ in range(6))}-{random.randint(10, 99)}{random.choice('#%&?')}"
    )


MAKERS: dict[str, Callable[[Random], str]] = {
    "name": name,
    "email": email,
    "phone": phone,
    "card": card,
    "iban": iban,
    "address": address,
    "national_id": national_id,
    "birth_date": birth_date,
    "ip": ip,
    "password": password,
}
