"""Check digits of the numbers that people and banks are known by. All take the number without its separators.

A check digit is what tells a card from an order number: of 100 random numbers of the right length, Luhn lets 10
through, mod 97 lets 1. Sources are named at each function.
"""

from collections.abc import Iterable

_LUHN = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)  # a digit doubled, its digits summed


def luhn(digits: str) -> bool:
    """Payment cards, Canadian SIN, Swedish personnummer. ISO/IEC 7812-1, annex B."""
    numbers = [ord(char) - 48 for char in digits]
    return (sum(numbers[-1::-2]) + sum(_LUHN[number] for number in numbers[-2::-2])) % 10 == 0


def iban(text: str) -> bool:
    """ISO 13616: letters are 10 to 35, the first four characters go last, and the whole is 1 modulo 97."""
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def weighted(digits: str, weights: Iterable[int]) -> int:
    return sum((ord(char) - 48) * weight for char, weight in zip(digits, weights, strict=False))


def dni(text: str) -> bool:
    """Spanish DNI and NIE: the letter is the number modulo 23 (Ministerio del Interior)."""
    number = text[:-1].translate({88: "0", 89: "1", 90: "2"})  # X, Y, Z begin a NIE
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[-1]


_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (*(1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def codice_fiscale(text: str) -> bool:
    """Italian: D.M. 23/12/1976. Odd places by a table, even places by their rank, the sum modulo 26 is the letter."""
    odd = sum(_ODD[char] for char in text[:-1:2])
    even = sum(int(char) if char.isdigit() else ord(char) - 65 for char in text[1:-1:2])
    return chr(65 + (odd + even) % 26) == text[-1]


def nir(digits: str) -> bool:
    """French social security number, 13 digits and a key: key = 97 - number modulo 97 (INSEE)."""
    return digits[0] in "12" and 97 - int(digits[:13]) % 97 == int(digits[13:])


def cpf(digits: str) -> bool:
    """Brazilian CPF: two digits modulo 11 (Receita Federal)."""
    if digits == digits[0] * 11:
        return False
    first = weighted(digits[:9], range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(digits[:10], range(11, 1, -1)) * 10 % 11 % 10
    return digits[9:] == f"{first}{second}"


def bsn(digits: str) -> bool:
    """Dutch BSN: weights 9 to 2 and -1 add up to a multiple of 11 (Rijksoverheid)."""
    return weighted(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def nhs(digits: str) -> bool:
    """British NHS number: modulo 11 (NHS Data Dictionary)."""
    return 11 - weighted(digits[:9], range(10, 1, -1)) % 11 in (int(digits[9]), int(digits[9]) + 11)


def pesel(digits: str) -> bool:
    """Polish PESEL: weights 1, 3, 7, 9, and a date of birth whose month carries the century."""
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    return weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0 and 1 <= month <= 12 and 1 <= day <= 31


def steuer_id(digits: str) -> bool:
    """German tax number of a person: ISO 7064 MOD 11,10, does not begin with 0."""
    product = 10
    for char in digits[:10]:
        product = ((int(char) + product) % 10 or 10) * 2 % 11
    return digits[0] != "0" and (11 - product) % 10 == int(digits[10])


_TIMES = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTED = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)


def verhoeff(digits: str) -> bool:
    """Indian Aadhaar. J. Verhoeff, Error Detecting Decimal Codes (1969): the dihedral group D5."""
    state = 0
    for place, char in enumerate(reversed(digits)):
        state = int(_TIMES[state][int(_PERMUTED[place % 8][int(char)])])
    return state == 0


def ahv(digits: str) -> bool:
    """Swiss AHV/AVS number: EAN-13."""
    return weighted(digits, (1, 3) * 6 + (1,)) % 10 == 0


def hetu(text: str) -> bool:
    """Finnish personal identity code, DDMMYYCZZZQ: Q is the nine digits modulo 31."""
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(text[:6] + text[7:10]) % 31] == text[10]


def us_ssn(digits: str) -> bool:
    """No check digit, but numbers never given out: area 000, 666, 9xx, group 00, serial 0000 (SSA, 20 CFR 422.103). 9xx
    with a group of 50 to 99 is an ITIN (IRS)."""
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area[0] == "9":
        return group >= "50" and serial != "0000"
    return area not in ("000", "666") and group != "00" and serial != "0000"
