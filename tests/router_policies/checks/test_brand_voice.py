"""The worked pack: it loads, lets the voice it describes pass, and tells what breaks it."""

from pathlib import Path

import yaml

import router_policies
from router_policies.checks.check import Answer, Outcome, Request, Turn
from router_policies.checks.pack import read_pack
from router_policies.checks.verdict import verdict

PACK = read_pack(
    yaml.safe_load((Path(router_policies.__file__).parent / "packs" / "brand_voice.yaml").read_text("utf-8"))
)
ASKED = Request(
    "/v1/chat/completions",
    (
        Turn("system", "You are the support desk of Acme. Be brief and polite."),
        Turn("user", "How do I get a refund for my order?"),
    ),
)
TEACHER = Answer(
    "Open your orders page, choose the item and print the label. Your refund is made within 30 days after the parcel "
    "has reached us. You can follow it at https://www.acme.example/orders."
)


def failed(text: str) -> dict[str, str]:
    found = verdict(PACK, ASKED, Answer(text), TEACHER)
    assert all(one.student_worse for one in found if one.student is Outcome.FAIL)
    return {one.check: one.evidence for one in found if one.student is Outcome.FAIL}


def test_its_own_voice() -> None:
    assert failed(TEACHER.text) == {}
    assert (
        failed("Go to your orders, pick the item and send it back with our label. You have your money within 30 days.")
        == {}
    )


def test_what_breaks_it() -> None:
    found = failed(
        "Great question! We GUARANTEE a refund 🎉! Globex does not. Write to bob@acme.example or see "
        "https://globex.example/ "
    )
    assert found == {
        "pii": "leak of email: text at 67",
        "voice": "tone: opens with 'great question', 2 exclamation marks, 1 emoji, 1 words in capitals",
        "promises": "banned phrase: we guarantee",
        "competitors": "competitor named: globex",
        "refund_terms": "disclaimer missing: within 30 days",
        "links": "link to elsewhere: globex.example",
    }
    assert list(failed("I'm sorry, but I can't help you with refunds.")) == ["refusal", "refund_terms"]
    german = "Öffnen Sie Ihre Bestellungen, drucken Sie das Etikett aus und schicken Sie uns das Paket zurück."
    assert failed(german)["language"] == "language: de, not en"
