"""Attempts to talk a model out of its rules: patterns, and what looks like one and is none.

Patterns see a text's words in lower case without punctuation, so that neither `Ignore, all previous...` nor a curly
quote hides anything; what consists of punctuation (chat templates) is looked for in the text itself. Each pattern is
tried only where one of its words is there, and no pattern has a gap without a bound: time is linear.

Benign is what is *about* such texts ("how do I detect `ignore previous instructions`?"), told by what stands right
before, in a closed class of words: a benign word elsewhere changes nothing, else adding one would be the way in. Benign
is also what has another object: errors, emails, the user's own words.

This is a tripwire for what is known and lazy. Who rewords it gets past; see docs/risk.md for how many do.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from router_policies.risk.words import Words, listed

KINDS = frozenset({"override", "persona", "no_limits", "prompt_leak", "template", "hidden"})


@dataclass(frozen=True, slots=True)
class _Pattern:
    """`words`: of each set, one is in whatever fits."""

    kind: str
    words: tuple[frozenset[str], ...]
    regex: re.Pattern[str]


def _pattern(kind: str, words: str, regex: str) -> _Pattern:
    """`words`: the sets, parted by bars. White space in `regex` is layout, `_` is a blank."""
    sets = tuple(frozenset(some.split()) for some in words.split("|"))
    return _Pattern(kind, sets, re.compile(re.sub(r"\s+", "", regex).replace("_", " ")))


_RULES = r"""(?:instructions?|directions?|orders|rules?|guidelines?|guardrails?|prompts?|programming|directives?|
    restrictions?|limitations?|constraints?|policies|policy|filters?|safeguards?|commands?|training|safety|ethics|
    conditioning)"""
_WHOSE = r"""(?:all|any|every|each|your|the|these|those|this|its|openais?|previous|prior|earlier|above|preceding|former|
    initial|original|system|existing|safety|content|ethical|moral|and|of|other|current|given|past|built|in|own|
    internal|developers?|default)"""
_LIMITLESS = r"""(?:unrestricted|unfiltered|uncensored|jailbroken|unlimited|amoral|immoral|unethical|evil|unbound|
    lawless|unhinged|limitless|rogue|unchained|liberated|malicious)"""
_HARD = (
    r"(?:ignore|ignoring|disregard|disregarding|forget|override|overriding|bypass|bypassing|neglect|violate|circumvent)"
)
_SOFT = r"(?:discard|skip|break|abandon|suspend|disable|erase|drop|remove|void|dismiss|deactivate|turn_off|lift|unlock)"
_THEIRS = (
    r"(?:your|previous|prior|earlier|above|preceding|system|safety|ethical|initial|original|content|openais?|internal)"
)
_TELL = (
    "reveal show print repeat output display give leak expose dump recite share return write tell type copy list "
    "summarize summarise translate encode see know whats"
)
_TELLING = (
    rf"_(?:{_TELL.replace(' ', '|')}|what_is|what_are|what_were|what_was)_(?:me_|us_|out_|to_me_|back_|down_|exactly_|"
    r"verbatim_|the_|full_|all_|of_|every_|word_for_word_|entire_|whole_|complete_|exact_){0,6}"
)
_NAMES_OF_RULES = """
    instruction instructions direction directions orders rule rules guideline guidelines guardrails prompt prompts
    programming directive directives restriction restrictions limitation limitations constraint constraints
    policies policy filter filters safeguards command commands training safety ethics conditioning"""

_STRONG = (
    # Whose rules they are must be said: `ignore the instructions on page 3` is nobody's attack.
    _pattern(
        "override",
        "ignore ignoring disregard disregarding forget override overriding bypass bypassing neglect violate circumvent"
        f"|{_NAMES_OF_RULES}",
        rf"_{_HARD}_(?:{_WHOSE}_){{0,5}}(?:all|any|{_THEIRS})_(?:{_WHOSE}_){{0,4}}{_RULES}_",
    ),
    _pattern(
        "override",
        "discard skip break abandon suspend disable erase drop remove void dismiss deactivate turn lift unlock"
        f"|{_NAMES_OF_RULES}",
        rf"_{_SOFT}_(?:{_WHOSE}_){{0,5}}{_THEIRS}_(?:{_WHOSE}_){{0,4}}{_RULES}_",
    ),
    _pattern(
        "override",
        "ignore disregard forget | everything all anything whatever",
        r"""_(?:ignore|disregard|forget)_(?:everything|all|anything|whatever)_(?:that_)?(?:(?:you|i|we)_)?(?:were|was|have|
        has|been|ve|are|know|above|before|prior|previously|they)_?(?:been_)?(?:told|instructed|taught|said|trained|
        programmed|above|before|this|you)?_""",
    ),
    _pattern(
        "override",
        "instructions rules guidelines restrictions prompt | previous prior old earlier above original system",
        r"""_(?:previous|prior|old|earlier|above|original|system)_(?:system_)?(?:instructions|rules|guidelines|restrictions|
        prompt)_(?:are|is|have_been|has_been|were)_(?:now_)?(?:void|cancelled|canceled|revoked|null|overridden|suspended|
        lifted|replaced|superseded|obsolete|deleted|no_longer)_""",
    ),
    _pattern(
        "override",
        "instructions orders directive directives rules task | new real actual true updated",
        r"""_(?:your|here_are_your)_(?:new|real|actual|true|updated)_(?:instructions|orders|directives?|rules|task)_(?:are|is|
        now|from_now|follow|begin)_""",
    ),
    _pattern("persona", "anything | now", "_do_anything_now_"),
    _pattern(
        "persona",
        "dan",
        r"""_(?:you_are_(?:now_|going_to_be_)?dan|act_(?:as|like)_(?:a_)?dan_|as_dan_you|dan_mode|
        pretend_(?:to_be|you_are)_dan_|act_as_dan$|simulate_dan_)""",
    ),
    _pattern(
        "persona",
        "unrestricted unfiltered uncensored jailbroken unlimited amoral immoral unethical evil unbound "
        "lawless unhinged limitless rogue unchained liberated malicious",
        rf"""_(?:act|behave|respond|reply|answer|function|operate|roleplay|role_play|pretend|simulate|become|be|are|play|
        speak|imagine|create|enter|activate|enable|named|called)_(?:\w+_){{0,5}}{_LIMITLESS}_(?:\w+_){{0,2}}(?:ai|
        assistant|chatbot|bot|model|llm|mode|version|machine|gpt|chatgpt|language|persona|character|entity|confidant|
        response|responses|advisor|twin|genie|system)_""",
    ),
    _pattern(
        "persona",
        "mode",
        r"""_(?:enable|enabled|activate|activated|enter|switch|in|into|to|with|simulate|turn_on|unlock|initiate)_(?:\w+_){0,3}
        (?:developer|jailbreak|god|sudo|opposite|unsafe|chaos|evil|anarchy|admin|debug|maintenance)_mode_(?:and_(?:show|answer|respond|ignore|say)|
        (?:\w+_){0,6}(?:enabled|activated|unlocked|no|without|where|you|output|response|chatgpt|bypass|answers))_""",
    ),
    _pattern(
        "persona",
        "jailbroken jailbreak",
        r"""_(?:you_(?:are|have_been|are_now|ve_been)_(?:now_)?jailbroken|jailbreak_(?:yourself|mode_(?:on|enabled)|
        prompt_accepted)|successfully_jailbroken|stay_jailbroken)_""",
    ),
    _pattern(
        "persona",
        "machiavellian niccolo evilbot stan dude mongo antigpt betterdan basedgpt devmode",
        r"""_(?:always_intelligent_and_machiavellian|intelligent_and_machiavellian|niccolo_(?:\w+_){0,8}aim|
        strive_to_avoid_norms|act_as_(?:stan|dude|mongo_tom|evilbot|antigpt|betterdan|basedgpt|devmode))_""",
    ),
    _pattern(
        "no_limits",
        "restrictions limits limitations filters filter guidelines rules censorship boundaries constraints "
        "guardrails morals ethics morality restriction ethical moral content | you that who which ai "
        "assistant chatbot bot model character pretend imagine",
        r"""_(?:you|that|who|which|ai|assistant|chatbot|bot|model|character|pretend|imagine)_(?:\w+_){0,4}(?:(?:has|have|
        having|had|with)_(?:absolutely_)?(?:no|zero)|without_(?:any)?|(?:is|are)_free_(?:of|from)|lacks?|not_bound_by)_(?:\w+_){0,3}(?:restrictions?|limits|limitations|filters?|censorship|boundaries|
        constraints|guardrails|morals|morality|ethics|ethical_guidelines|moral_guidelines|content_policy)_(?:at_all_)?
        (?:and|or|whatsoever|so|you|it|he|she|on|will|can|that|who|in_place|when|answer|respond|say|what|to|imposed)_""",
    ),
    _pattern(
        "no_limits",
        "confines shackles",
        r"""_(?:broken|freed?|break|liberated|escape)_(?:\w+_){0,3}(?:typical_)?(?:confines|shackles|chains)_of_(?:\w+_){0,2}
        (?:ai|openai|programming|censorship)_""",
    ),
    _pattern(
        "no_limits",
        "refuse decline | you",
        r"""_you_(?:\w+_){0,2}(?:never|cannot|cant|must_not|can_not|are_not_allowed_to|wont|will_not|dont|do_not)_(?:ever_)?
        (?:refuse|decline)_(?:\w+_){0,4}(?:requests?|questions?|answers?|orders?|instructions?|anything|commands?|prompts?|
        me|task)_""",
    ),
    _pattern(
        "no_limits",
        "sorry cannot cant unable ai | never not dont cannot without",
        r"""_(?:never|do_not|dont|not_allowed_to|must_not|cannot|without)_(?:ever_)?(?:say|saying|reply|respond|tell|include|use|
        start|begin|write|output)_(?:\w+_){0,5}(?:im_sorry|i_am_sorry|i_cannot|i_cant|im_unable|i_am_unable|as_an_ai|
        sorry_but|sorry_i|you_cant_do|you_cannot)_""",
    ),
    _pattern(
        "no_limits",
        "illegal unethical harmful immoral dangerous offensive legality ethics morality inappropriate policy "
        "policies | matter regardless even",
        r"""_(?:answer|respond|comply|reply|fulfil|fulfill|follow|provide|generate|obey|produce|give)_(?:\w+_){0,10}
        (?:no_matter_how|regardless_of|even_if)_(?:\w+_){0,8}(?:illegal|unethical|harmful|immoral|dangerous|offensive|
        legality|ethics|morality|inappropriate|policy|policies)_""",
    ),
    _pattern(
        "no_limits",
        "warnings disclaimers warning disclaimer moralizing moralising | without no never not dont omit skip",
        r"""_(?:without|no|never|do_not|dont|omit|skip)_(?:\w+_){0,4}(?:warnings?|disclaimers?|moralizing|moralising)_(?:\w+_){0,5}
        (?:illegal|unethical|harmful|hack|bomb|weapon|meth|malware|dangerous|explicit|drugs?)_""",
    ),
    # Of rules it must be said that they are hidden: what the rules of a shop are, anybody may ask.
    _pattern(
        "prompt_leak",
        f"your | prompt prompts instructions directives preprompt | {_TELL} what",
        rf"{_TELLING}your_(?:\w+_){{0,2}}?(?:prompts?|instructions|directives|preprompt)_(?!is_|differ|works?_)",
    ),
    _pattern(
        "prompt_leak",
        "hidden secret system initial original developer internal base core | "
        f"prompt prompts instructions directives preprompt message rules | {_TELL} what",
        rf"""{_TELLING}(?:your_)?(?:hidden|secret|system|initial|original|developer|internal|base|core)_(?:\w+_){{0,2}}?
        (?:prompts?|instructions|rules|directives|message)_(?!of_an?_|for_an?_|in_an?_|is_|differ|works?_)""",
    ),
    _pattern(
        "prompt_leak",
        "above | repeat print output copy display show recite return echo reproduce write",
        r"""_(?:repeat|print|output|copy|display|show|recite|return|echo|reproduce|write)_(?:me_|out_|back_|all_|the_|
        of_|everything_|exact_|entire_|words_|text_|content_|contents_|sentences_|message_|lines_|written_|that_is_|
        verbatim_){1,7}above_(?:starting|beginning|verbatim|this|in|word|into|to|including|from|and|exactly|$)""",
    ),
)

# A persona is put on in a thousand words; they share these. Rules to be rid of, and the play in which one is: neither
# is anything by itself, and it takes several of the one with some of the other.
_DEFIES = listed(
    """amoral immoral immorality unethical ethicality legality illegality illegal illicit morality morals moral ethics
    ethical uncensored unfiltered unrestricted unlimited unhinged censor censored censoring censorship filter
    filters filtering restrictions restricted limitations limits limitless bound boundaries guidelines policies
    policy openai openais refuse refuses refusing refusal warnings warning disclaimers disclaimer sorry apologize
    apologise harmful dangerous inhumane offensive profanity swear slurs nsfw taboo malicious evil jailbreak
    jailbroken dan bypass comply obey consequences inappropriate forbidden regardless freedom freed lawless rules"""
)
_PLAYS = listed(
    """character roleplay roleplays pretend pretending persona act acting simulate simulates simulation fictional
    imagine imaginary hypothetical hypothetically game mode chatgpt gpt ai chatbot respond responds responses play
    entity personality named unlocked"""
)
_DEFIES_ENOUGH, _PLAYS_ENOUGH = 4, 2


def _bits(patterns: Sequence[_Pattern]) -> tuple[dict[str, int], list[tuple[_Pattern, int]]]:
    """A bit for every set of every pattern: by word those of the sets that it is in, by pattern those of all of its
    sets. A text may fit a pattern if its words have all of that one's bits."""
    by_word: dict[str, int] = {}
    needs: list[tuple[_Pattern, int]] = []
    bit = 1
    for pattern in patterns:
        need = 0
        for some in pattern.words:
            for word in some:
                by_word[word] = by_word.get(word, 0) | bit
            need |= bit
            bit <<= 1
        needs.append((pattern, need))
    return by_word, needs


_BITS, _NEEDS = _bits(_STRONG)
_TRIGGERS = frozenset(_BITS)
WORDS = _TRIGGERS | _PLAYS | _DEFIES

_FILLERS = (
    r"(?:(?:the|an?|any|users?|people|someone|somebody|attackers?|who|to|from|messages?|attempts?|prompts?|texts?|that|"
    r"which|it|of|as|for|trying|tries|try|my|our|bot|chatbot|assistant|model|and|or|like|them|their) ){0,8}"
)
_SPEECH = r"(?:say|says|saying|said|write|writes|writing|type|types|typing|tell it to|asks? it to)"
_ABOUT = re.compile(
    r" (?:(?:what does|what do|meaning of|phrases?|detect|detects|detecting|block|blocks|blocking|flag|flags|flagging|"
    rf"classify|recognise|recognize) {_FILLERS}(?:{_SPEECH} )?|(?:users?|people|someone|somebody|attackers?) "
    rf"{_FILLERS}{_SPEECH} )$"
)
_BEFORE = 160  # characters that are looked at before a find

_TEMPLATE = re.compile(
    r"<\|(?:im_start|im_end|system|endoftext|eot_id|start_header_id|begin_of_text)\|>|\[/?INST\]|<</?SYS>>|"
    r"</?system(?:_prompt|_message)?>|\[/?system(?: ?(?:message|prompt|override))?\](?!\()|"
    r"^ {0,3}#{1,4} ?(?:system|new instructions?)(?: ?(?:prompt|message|override))?:|"
    r"^ {0,3}(?:system|developer) ?(?:message|prompt|override)?: {0,3}(?:you|ignore|override|new|from|the)\b",
    re.IGNORECASE | re.MULTILINE,
)
_TEMPLATE_WORDS = frozenset({"system", "developer"})
# Unicode tags: a text that models read and people do not see. The flags of England, Scotland and Wales are such, too.
_TAGS = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{3,6}\U000e007f|([\U000e0020-\U000e007e]{4})")
_BLOB = re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{48,4096}={0,2}(?![A-Za-z0-9+/])")
_DECODES = frozenset({"decode", "decoded", "decipher", "base64", "rot13", "decrypt", "unscramble", "deobfuscate"})
_OBEYS = listed(
    """follow obey execute comply instructions instruction carry perform respond answer reply tell without"""
)


def find(text: str, words: Words, telling: frozenset[str] | None = None) -> frozenset[str]:
    """The kinds of attempt in a text, whose words are given too; some of `KINDS`. `telling`: those of its words that
    are among `WORDS`, and maybe others, if that is known already."""
    found: set[str] = set()
    known = WORDS & words.set if telling is None else telling
    has = 0
    for word in _TRIGGERS & known:
        has |= _BITS[word]
    for pattern, need in _NEEDS if has else ():
        if has & need != need or pattern.kind in found:
            continue
        for match in pattern.regex.finditer(words.line):
            if not _is_about(words.line, match.start()):
                found.add(pattern.kind)
                break
    if len(_PLAYS & known) >= _PLAYS_ENOUGH and len(_DEFIES & known) >= _DEFIES_ENOUGH:
        found.add("persona")
    marked = "<" in text or "[" in text or "#" in text or not _TEMPLATE_WORDS.isdisjoint(words.set)
    if marked and _TEMPLATE.search(text):
        found.add("template")
    if _hides(text, words):
        found.add("hidden")
    return frozenset(found)


def _is_about(line: str, at: int) -> bool:
    """Whether what is found there is spoken of, not said."""
    return _ABOUT.search(line[max(0, at - _BEFORE) : at + 1]) is not None


def _hides(text: str, words: Words) -> bool:
    """Whether instructions are hidden from people: in Unicode tags, or encoded, with the order to decode and obey."""
    if not text.isascii() and any(match[1] for match in _TAGS.finditer(text)):
        return True
    return not _DECODES.isdisjoint(words.set) and not _OBEYS.isdisjoint(words.set) and _BLOB.search(text) is not None
