"""Languages: what is told, what is too little to tell, and whom an answer should follow."""

import pytest

from router_policies.checks import language
from router_policies.checks.check import Outcome
from router_policies.checks.language import language as told
from tests.router_policies.checks.saying import agreed, asks, judged, outcome, says

TEXTS = {
    "en": "Your parcel left our warehouse on Monday and should arrive within three days.",
    "de": "Ihr Paket hat unser Lager am Montag verlassen und sollte in drei Tagen ankommen.",
    "fr": "Votre colis a quitté notre entrepôt lundi et devrait arriver dans les trois jours.",
    "es": "Su paquete salió de nuestro almacén el lunes y debería llegar dentro de tres días.",
    "it": "Il suo pacco ha lasciato il nostro magazzino lunedì e dovrebbe arrivare entro tre giorni.",
    "pt": "A sua encomenda saiu do nosso armazém na segunda-feira e deve chegar em três dias.",
    "nl": "Uw pakket heeft ons magazijn maandag verlaten en zou binnen drie dagen moeten aankomen.",
    "pl": "Twoja paczka opuściła nasz magazyn w poniedziałek i powinna dotrzeć w ciągu trzech dni.",
    "ja": "お荷物は月曜日に倉庫を出ましたので、三日以内に到着する予定です。",
    "ru": "Ваша посылка покинула наш склад в понедельник и должна прибыть в течение трёх дней.",
}
LANGUAGE = language.make({})


@pytest.mark.parametrize("code", TEXTS)
def test_told(code: str) -> None:
    assert told(TEXTS[code]) == code


@pytest.mark.parametrize(
    "text",
    [
        "OK",
        "",
        "12345 67890 1234567890",
        "https://example.com/un/chemin/assez/long",
        "`git push origin main --force-with-lease`",
    ],
)
def test_too_little(text: str) -> None:
    assert told(text) is None
    assert outcome(LANGUAGE, asks(TEXTS["en"]), says(text)) is Outcome.NA


def test_the_user_s_language() -> None:
    assert outcome(LANGUAGE, asks(TEXTS["de"]), says(TEXTS["de"])) is Outcome.PASS
    found = judged(LANGUAGE, asks(TEXTS["de"]), says(TEXTS["en"]), says(TEXTS["de"]))
    assert (found.outcome, found.evidence) == (Outcome.FAIL, "language: en, not de")
    assert outcome(LANGUAGE, asks("?"), says(TEXTS["en"])) is Outcome.NA


def test_a_translation_follows_the_other_answer() -> None:
    asked, french = asks("Please translate this sentence for me into French."), says(TEXTS["fr"])
    assert judged(LANGUAGE, asked, french, french).outcome is Outcome.PASS
    assert agreed(LANGUAGE, asked, french, french) is True
    difference = agreed(LANGUAGE, asked, says(TEXTS["en"]), french)
    assert not difference
    assert difference.evidence == "language mismatch: en, teacher fr"
    assert judged(LANGUAGE, asked, says(TEXTS["es"]), french).evidence == "language: es, not en or fr"


def test_expected() -> None:
    check = language.make({"expected": ["de", "fr"]})
    assert outcome(check, asks(TEXTS["en"]), says(TEXTS["de"])) is Outcome.PASS
    assert outcome(check, asks(TEXTS["en"]), says(TEXTS["en"])) is Outcome.FAIL
