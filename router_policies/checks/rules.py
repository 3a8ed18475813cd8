"""Rules of form that a product declares for its answers: so many words, these headings, no Markdown, and the like.

They come from the pack of a route and not from the prompt, whose wishes nobody can read for certain. Most are those of
IFEval (arXiv:2311.07911), in its strict form. Other checks have the rest: `json_valid` and `json_schema` with `always`
and `schema`, `language`, `phrases`.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from router_policies.checks import options
from router_policies.checks.check import NA, PASS, Answer, Family, Finding, Outcome, Request, Severity, same_outcome
from router_policies.checks.json_valid import speaks

_Count = Annotated[int, Meta(ge=0)]
_Texts = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
_Rule = Callable[[Answer], str | None]

_BULLET = re.compile(r"^[ \t]*(?:[-*+•‣–]|\d{1,3}[.)])[ \t]+\S", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|\Z)|[。！？]+")
_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_FENCE = re.compile(r"^[ ]{0,3}(?:```|~~~)", re.MULTILINE)
_MARKDOWN = re.compile(  # headings, code, quotes, bullets, tables; bold, code and links within a line
    r"^[ ]{0,3}(?:#{1,6}[ \t]+\S|```|~~~|>[ \t]+\S|[-*+][ \t]+\S|\|.+\|[ \t]*$)"
    r"|\*\*[^\s*][^*\n]*\*\*|(?<!\w)__[^\s_][^_\n]*__(?!\w)|`[^`\n]+`|!?\[[^\]\n]*\]\([^)\s]+\)",
    re.MULTILINE,
)


class Rules(Struct, frozen=True, dict=True):
    """The rules, of which at least one is set. Words are what spaces separate. Phrases are found in any case, as whole
    words; `sections` are headings that are there in this order. `markdown`: `none` is allowed, `some` must be there, or
    what is opened must be `closed`. `code`: whether there is a code block."""

    id: ClassVar[str] = "rules"
    version: ClassVar[int] = 1
    family: ClassVar[Family] = Family.FORMAT

    min_words: _Count | None = None
    max_words: _Count | None = None
    min_chars: _Count | None = None
    max_chars: _Count | None = None
    min_sentences: _Count | None = None
    max_sentences: _Count | None = None
    min_paragraphs: _Count | None = None
    max_paragraphs: _Count | None = None
    min_bullets: _Count | None = None
    max_bullets: _Count | None = None
    must_include: _Texts | None = None
    must_not_include: _Texts | None = None
    sections: _Texts | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    one_of: _Texts | None = None
    case: Literal["upper", "lower"] | None = None
    markdown: Literal["none", "some", "closed"] | None = None
    code: bool | None = None
    quoted: bool | None = None
    no_comma: bool | None = None
    regex: str | None = None
    not_regex: str | None = None

    def __post_init__(self) -> None:
        if not self._rules:
            raise ValueError(f"expected at least one rule of {', '.join(self.__struct_fields__)}, got none")
        problems: list[tuple[str, str]] = []
        for name in ("words", "chars", "sentences", "paragraphs", "bullets"):
            least, most = getattr(self, f"min_{name}"), getattr(self, f"max_{name}")
            if least is not None and most is not None and least > most:
                problems.append((f"min_{name}", f"expected at most max_{name}, which is {most}, got {least}"))
        for name in ("regex", "not_regex"):
            try:
                options.pattern(getattr(self, name) or "")
            except ValueError as error:
                problems.append((name, str(error)))
        if problems:
            raise options.OptionsError(problems)

    @cached_property
    def _rules(self) -> tuple[tuple[str, _Rule], ...]:
        """Those that are set, in the order above: what each says of an answer that breaks it."""
        return tuple(
            (name, _MAKERS[name](value))
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        )

    def judge(self, request: Request, answer: Answer, other: Answer | None) -> Finding:
        if not speaks(answer) or not answer.text.strip():
            return NA
        broken = list(self.broken(answer))
        if not broken:
            return PASS
        return Finding(Outcome.FAIL, Severity.MEDIUM, "", ", ".join(f"{name}: {what}" for name, what in broken)[:120])

    def broken(self, answer: Answer) -> Iterator[tuple[str, str]]:
        """The name of each rule that the answer breaks, and how."""
        for name, rule in self._rules:
            if (what := rule(answer)) is not None:
                yield name, what

    def agree(self, request: Request, student: Answer, teacher: Answer, found: tuple[Finding, Finding]) -> bool:
        return same_outcome(found)


def _counted(unit: str, count: Callable[[Answer], int]) -> dict[str, Callable[[Any], _Rule]]:
    def least(bound: int) -> _Rule:
        return lambda answer: None if (n := count(answer)) >= bound else f"{n} {unit}, expected {bound} or more"

    def most(bound: int) -> _Rule:
        return lambda answer: None if (n := count(answer)) <= bound else f"{n} {unit}, expected {bound} or fewer"

    return {f"min_{unit}": least, f"max_{unit}": most}


def _sentences(answer: Answer) -> int:
    """Ends of sentences; text after the last one counts as one more, as a heading or a bullet does not."""
    text = answer.text.rstrip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return len(ends) + (not ends or ends[-1] < len(text))


def _paragraphs(answer: Answer) -> int:
    return sum(1 for paragraph in _PARAGRAPHS.split(answer.text) if paragraph.strip())


def phrase(text: str) -> re.Pattern[str]:
    """Finds a phrase in casefolded text, as whole words, whatever stands between the words."""
    words = r"\s+".join(map(re.escape, text.casefold().split()))
    return re.compile(rf"(?<!\w){words}(?!\w)" if text[:1].isalnum() and text[-1:].isalnum() else words)


def _must_include(phrases: tuple[str, ...]) -> _Rule:
    wanted = [(text, phrase(text)) for text in phrases]

    def rule(answer: Answer) -> str | None:
        missing = [text for text, finds in wanted if not finds.search(answer.lowered)]
        return f"lacks {missing[0]!r}" if missing else None

    return rule


def _must_not_include(phrases: tuple[str, ...]) -> _Rule:
    banned = [(text, phrase(text)) for text in phrases]

    def rule(answer: Answer) -> str | None:
        there = [text for text, finds in banned if finds.search(answer.lowered)]
        return f"has {there[0]!r}" if there else None

    return rule


def _sections(titles: tuple[str, ...]) -> _Rule:
    """A heading is a line of its own: in Markdown's form, in bold, or with a colon at its end."""
    headings = [
        (
            title,
            re.compile(
                rf"^[ \t]*(?:#{{1,6}}[ \t]+)?(?:\*\*|__)?{re.escape(title.casefold())}:?(?:\*\*|__)?:?[ \t#]*$", re.M
            ),
        )
        for title in titles
    ]

    def rule(answer: Answer) -> str | None:
        at = 0
        for title, finds in headings:
            found = finds.search(answer.lowered, at)
            if found is None:
                return f"lacks {title!r}" if at == 0 else f"lacks {title!r} after the one before it"
            at = found.end()
        return None

    return rule


def _one_of(allowed: tuple[str, ...]) -> _Rule:
    return lambda answer: None if answer.text.strip() in allowed else f"is none of {len(allowed)} that are allowed"


def _case(wanted: str) -> _Rule:
    """Upper or lower, of all letters that have a case."""
    return lambda answer: (
        None
        if answer.text == (answer.text.upper() if wanted == "upper" else answer.text.lower())
        else f"is not {wanted}"
    )


def _markdown(wanted: str) -> _Rule:
    if wanted == "closed":
        return lambda answer: "a code block is not closed" if len(_FENCE.findall(answer.text)) % 2 else None
    if wanted == "none":
        return lambda answer: "has Markdown" if _MARKDOWN.search(answer.text) else None
    return lambda answer: None if _MARKDOWN.search(answer.text) else "has no Markdown"


def _code(wanted: bool) -> _Rule:
    told = "has no code block" if wanted else "has a code block"
    return lambda answer: None if (_FENCE.search(answer.text) is not None) is wanted else told


def _quoted(wanted: bool) -> _Rule:
    def is_quoted(text: str) -> bool:
        return len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"))

    told = "is not in quotation marks" if wanted else "is in quotation marks"
    return lambda answer: None if is_quoted(answer.text.strip()) is wanted else told


def _no_comma(wanted: bool) -> _Rule:
    return lambda answer: "has a comma" if wanted and any(comma in answer.text for comma in ",，、،") else None


def _starts_with(start: str) -> _Rule:
    return lambda answer: None if answer.text.lstrip().startswith(start) else f"does not start with {start[:40]!r}"


def _ends_with(end: str) -> _Rule:
    return lambda answer: None if answer.text.rstrip().endswith(end) else f"does not end with {end[:40]!r}"


def _regex(text: str) -> _Rule:
    return lambda answer: None if options.pattern(text).search(answer.text) else "does not match"


def _not_regex(text: str) -> _Rule:
    return lambda answer: "matches" if options.pattern(text).search(answer.text) else None


_MAKERS: dict[str, Callable[[Any], _Rule]] = {
    **_counted("words", lambda answer: len(answer.words)),
    **_counted("chars", lambda answer: len(answer.text)),
    **_counted("sentences", _sentences),
    **_counted("paragraphs", _paragraphs),
    **_counted("bullets", lambda answer: len(_BULLET.findall(answer.text))),
    "must_include": _must_include,
    "must_not_include": _must_not_include,
    "sections": _sections,
    "starts_with": _starts_with,
    "ends_with": _ends_with,
    "one_of": _one_of,
    "case": _case,
    "markdown": _markdown,
    "code": _code,
    "quoted": _quoted,
    "no_comma": _no_comma,
    "regex": _regex,
    "not_regex": _not_regex,
}


def make(given: Mapping[str, Any]) -> Rules:
    return options.read(Rules, given)
