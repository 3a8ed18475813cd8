"""Words and lexicons, against the slow and obvious way to look for phrases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_policies.risk.words import Lexicons, Words, split, terms


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't STOP,now!", ["dont", "stop", "now"]),
        ("Don\u2019t", ["dont"]),
        ("\uff26\uff55\uff4c\uff4c width", ["full", "width"]),
        ("soft\u00adhyphen zero\u200bwidth", ["softhyphen", "zerowidth"]),
        ("snake_case e-mail", ["snake", "case", "e", "mail"]),
        ("Überweisung, STRASSE straße", ["überweisung", "strasse", "strasse"]),
        ("12.50 EUR", ["12", "50", "eur"]),
        ("", []),
        ("...", []),
        ("\ud800 lone", ["lone"]),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split(text) == words


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_takes_the_short_way_to_the_same_words(text: str) -> None:
    slow = split(text + " é")
    assert slow[-1] == "é"
    assert split(text) == slow[:-1]


LEXICONS = {"pay": ("credit card, loan", "bank, pay back, card"), "ill": ("fever", "pain, my head")}
WORDS = ["credit", "card", "cards", "loan", "loans", "bank", "pay", "back", "fever", "pain", "my", "head", "heads", "x"]


@given(st.lists(st.sampled_from(WORDS), max_size=12))
def test_a_lexicon_finds_what_reading_word_by_word_finds(words: list[str]) -> None:
    expected = set()
    for name, (strong, weak) in LEXICONS.items():
        total = sum(2 for term in terms(strong) if _has(words, term)) + sum(
            1 for term in terms(weak) if _has(words, term)
        )
        if total >= 2:
            expected.add(name)
    assert Lexicons(LEXICONS).find(Words(words)) == expected


def _has(words: list[str], term: str) -> bool:
    for form in (term.split(), f"{term}s".split()):
        if any(words[at : at + len(form)] == form for at in range(len(words))):
            return True
    return False


def test_a_term_counts_once_however_it_is_said() -> None:
    assert Lexicons(LEXICONS).find(Words.of("bank banks bank")) == frozenset()
    assert Lexicons(LEXICONS).find(Words.of("a bank, a card")) == {"pay"}
    assert Lexicons(LEXICONS).find(Words.of("my head, my heads")) == frozenset()
