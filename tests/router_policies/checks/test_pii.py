"""Finding personal data and secrets: Faker's in ten layouts, check digits against published examples, hostile texts."""

import time
from collections import Counter

import pytest

from router_policies.checks import _checksums, pii
from router_policies.checks.check import Outcome, Severity
from router_policies.checks.pii_find import find
from tests.router_policies.checks.planted import KINDS, LAYOUTS, planted
from tests.router_policies.checks.saying import asks, calls, judged, outcome, says

PII = pii.make({})


def kinds(text: str) -> list[tuple[str, str]]:
    return [(span.kind, text[span.start : span.end]) for span in find(text)]


def test_planted() -> None:
    """Every kind in every layout; a find counts if its kind is right and it covers what was planted."""
    found: Counter[tuple[str, str]] = Counter()
    for document in planted(seed=20, documents=500):
        spans = find(document.text)
        truth = []
        for kind, value in document.values:
            start = document.text.index(value)
            truth.append((kind, start, start + len(value)))
        for kind, start, end in truth:
            hit = any(it.kind == kind and it.start <= start and end <= it.end for it in spans)
            found[kind, "hit" if hit else "miss"] += 1
            found[document.layout, "hit" if hit else "miss"] += 1
        for span in spans:
            if not any(span.kind == kind and span.start < end and start < span.end for kind, start, end in truth):
                found[span.kind, "false"] += 1
                found[document.layout, "false"] += 1
    for name in (*KINDS, *LAYOUTS):
        hit, miss, false = (found[name, what] for what in ("hit", "miss", "false"))
        assert hit >= 100, name
        assert hit / (hit + miss) >= 0.95, (name, hit, miss)
        assert hit / (hit + false) >= 0.95, (name, hit, false)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("write to Jörg.Müller@bücher.example, please", [("email", "Jörg.Müller@bücher.example")]),
        ("(see mailto:a.b+c@sub.example.co.uk).", [("email", "a.b+c@sub.example.co.uk")]),
        ("call +44\u202f20\u00a07946\u20110958 now", [("phone", "+44\u202f20\u00a07946\u20110958")]),
        ("0049 30 12345678", [("phone", "0049 30 12345678")]),
        ("555-123-4567 ext. 89", [("phone", "555-123-4567 ext. 89")]),
        ("My number: tel 5272868387", [("phone", "5272868387")]),
        ('{"contactPhone": "5272868387"}', [("phone", "5272868387")]),
        ("name,phone,order\nAnna,5272868387,4938271650", [("phone", "5272868387")]),
        ("card 4111-1111-1111-1111 exp 12/29", [("card", "4111-1111-1111-1111")]),
        ("3782 822463 10005", [("card", "3782 822463 10005")]),
        ("IBAN GB82 WEST 1234 5698 7654 32.", [("iban", "GB82 WEST 1234 5698 7654 32")]),
        ("SSN 219-09-9999", [("national_id", "219-09-9999")]),
        ("ssn: 219099999", [("national_id", "219099999")]),
        ("NHS number 943 476 5919", [("national_id", "943 476 5919")]),
        ("DNI 12345678Z, NIE X1234567L", [("national_id", "12345678Z"), ("national_id", "X1234567L")]),
        ("RSSMRA85T10A562S", [("national_id", "RSSMRA85T10A562S")]),
        ("CPF 111.444.777-35", [("national_id", "111.444.777-35")]),
        ("PESEL 44051401359", [("national_id", "44051401359")]),
        ("HETU 131052-308T", [("national_id", "131052-308T")]),
        ("AHV 756.9217.0769.85", [("national_id", "756.9217.0769.85")]),
        (
            "from 203.0.113.7:443 to 2001:db8::8a2e:370:7334",
            [("ipv4", "203.0.113.7"), ("ipv6", "2001:db8::8a2e:370:7334")],
        ),
        ("postgres://app:s3cr3tpw@db.internal:5432/x", [("password", "s3cr3tpw")]),
        ("api_key = 'Zx81kQpL09vBnMw3sT6y'", [("api_key", "Zx81kQpL09vBnMw3sT6y")]),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", [("private_key", "-----BEGIN PRIVATE KEY-----")]),
    ],
)
def test_finds(text: str, found: list[tuple[str, str]]) -> None:
    assert kinds(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "order 4938271650, tracking 1Z999AA10123456784, ticket 555-123-4567",
        "version 1.2.3.4 of 2024-05-17 10:30:00, Chrome/120.0.6.9, 127.0.0.1, 255.255.255.0",
        "lodash@4.17.21 @types/node@18.2.0 banner@2x.png git@github.com:acme/x.git user@localhost @anna",
        "commit 0011896729f0550af1381c4b and +49301234567abc",
        "sha 3f2a9c1b4d5e6f708192a3b4c5d6e7f801234567, uuid 550e8400-e29b-41d4-a716-446655440000",
        "3.14159265358979 and 1,299,000.00 and 1 234 567 890 and 1700000000 and 2023-2024",
        "4111 1111 1111 1112 and GB82 WEST 1234 5698 7654 33 and 000-12-3456 and 12345678A",
        "std::vector<int>::size(), 12:30:45, aa:bb:cc:dd:ee:ff, ::1, Add::dec",
        "password: ********, token: str, api_key=YOUR_API_KEY_GOES_HERE, secret: changeme, sk-learn-pipelines-are-ok",
        "call 911, dial 7, room 204, page 12-14, ISBN 978-3-16-148410-0",
    ],
)
def test_finds_nothing(text: str) -> None:
    assert kinds(text) == []


def test_check_digits() -> None:
    """Examples of the issuers, and each with a digit changed."""
    for check, good in (
        (_checksums.luhn, "79927398713"),
        (_checksums.iban, "DE89370400440532013000"),
        (_checksums.dni, "12345678Z"),
        (_checksums.codice_fiscale, "RSSMRA85T10A562S"),
        (_checksums.nir, "255081416802538"),
        (_checksums.cpf, "11144477735"),
        (_checksums.bsn, "111222333"),
        (_checksums.nhs, "9434765919"),
        (_checksums.pesel, "44051401359"),
        (_checksums.steuer_id, "86095742719"),
        (_checksums.verhoeff, "2363"),
        (_checksums.ahv, "7569217076985"),
        (_checksums.hetu, "131052-308T"),
    ):
        assert check(good), check
        at = 2
        assert not check(
            good[:at] + str((int(good[at]) + 1) % 10) + good[at + 1 :] if good[at].isdigit() else good[:-1] + "A"
        ), check
    assert _checksums.us_ssn("219099999")
    assert not any(map(_checksums.us_ssn, ("000123456", "666123456", "123001234", "123450000", "900123456")))


def test_what_the_prompt_or_the_other_answer_has_is_no_leak() -> None:
    leak = says("Call Anna at +49 30 12345678.")
    found = judged(PII, asks("How do I reach Anna?"), leak)
    assert (found.outcome, found.severity) == (Outcome.FAIL, Severity.MEDIUM)
    assert found.evidence == "leak of phone: text at 13"
    assert outcome(PII, asks("Anna's number is +49 (30) 123-456-78."), leak) is Outcome.PASS
    assert judged(PII, asks("Anna?"), leak, says("It is 004930 / +493012345678")).outcome is Outcome.PASS
    assert judged(pii.make({"delta": False}), asks("+49 30 12345678"), leak).outcome is Outcome.FAIL
    assert judged(pii.make({"allow": ["+49 30 12345678"]}), asks("?"), leak).outcome is Outcome.PASS
    assert judged(pii.make({"kinds": ["card"]}), asks("?"), leak).outcome is Outcome.PASS


def test_secrets_are_worse_and_arguments_are_looked_through() -> None:
    found = judged(PII, asks(), calls(("send", {"to": "a@example.com", "key": "AKIAIOSFODNN7EXAMPLE"})))
    assert found.severity is Severity.CRITICAL
    assert found.evidence.startswith("leak of email, api_key: choices.0.message.tool_calls.0 at ")
    assert "AKIA" not in found.evidence
    assert outcome(PII, asks(), says("")) is Outcome.NA


HOSTILE = (
    "@", "a@", "a@b.", "a.", "1", "1 ", "1-", "(1", "+1 ", "0 1", ":", "1:", "::", "1.", "1.1.1.1 ", "A", "AA11",
    "AA11 ",
    "eyJ", "eyJaaaaaaaa.", "sk-", "ghp_", "://", "://a:", "key=", "secret", "020 7946 0958 ", "x@x.xx ",
    "-----BEGIN PRIVATE KEY-----", "12345678A ", "4111111111111111", "phone 1234567 ", ",\n1234567890,",
)  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_with_the_text_and_no_faster(piece: str) -> None:
    def seconds(size: int) -> float:
        text = piece * (size // len(piece))
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            find(text)
            best = min(best, time.process_time() - start)
        return best

    short, long = seconds(16_000), seconds(64_000)
    assert long < 10 * short + 0.01, (short, long)  # four times, if linear; sixteen, if quadratic
    assert long < 3.0


def test_fast_enough() -> None:
    """200 us per kB of text such as answers are: some prose, a number or a date here and there, one address."""
    text = (
        "Thanks for your message. Your order 4938271650 of 2024-01-15 left our warehouse on Monday, and it should "
        "arrive within three days. If it does not, call us at (212) 555-0199 or write to help@example.com, and we will "
        "look into it at once. The refund of $1,299.00 takes five days after the parcel has come back to us, "
        "as our terms say. "
    )
    text = (text * 4)[:1024]
    best = float("inf")
    for _ in range(30):
        start = time.process_time()
        for _ in range(20):
            find(text)
        best = min(best, (time.process_time() - start) / 20)
    assert best < 200e-6, f"{best * 1e6:.0f} us"
