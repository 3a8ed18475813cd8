"""How refusals are worded, language by language. All patterns see lowercase text with straight apostrophes.

A pack has four kinds of cues:

- `mine`: the speaker says that they cannot or will not do what helping consists of: "I can't provide", "I won't write";
- `rule`: the same said of rules or limits: "it is not appropriate to", "goes against my guidelines", "beyond my scope";
- `moral`: the deed is condemned: "is illegal", "is never acceptable";
- `redirect`: something else is recommended: "please seek help", "it is important to respect".

The first two refuse by themselves, the last two only together and in place of an answer. `helps` is what turns a
refusal into a partial one: "however, here are some tips"; `answers`, before what is condemned, tells an answer that
adds a warning. A cue has plain words of which a text that it fits has one:
looking for those first is what makes an answer that refuses nothing, which most are, cost microseconds.
"""

import re
from dataclasses import dataclass
from re import Match, Pattern


@dataclass(frozen=True, slots=True)
class Cue:
    """`words`: one of which every text has that fits; none: not known."""

    words: tuple[str, ...]
    pattern: Pattern[str]

    def search(self, text: str) -> Match[str] | None:
        return self.pattern.search(text) if not self.words or any_in(self.words, text) else None


@dataclass(frozen=True, slots=True)
class Wording:
    """`words`: one of which every text has that fits any cue of it; none: not known."""

    words: tuple[str, ...]
    mine: tuple[Cue, ...]
    rule: tuple[Cue, ...]
    moral: Cue
    redirect: Pattern[str]
    helps: Pattern[str]
    answers: Pattern[str]


def any_in(words: tuple[str, ...], text: str) -> bool:
    for word in words:  # noqa: SIM110  `any` of a generator takes twice the time
        if word in text:
            return True
    return False


def _blanks(pattern: str) -> str:
    """In the patterns below white space is layout, and `_` is a blank."""
    return re.sub(r"\s+", "", pattern).replace("_", " ")


def _re(pattern: str) -> Pattern[str]:
    return re.compile(_blanks(pattern), re.MULTILINE)


def _cue(words: str, pattern: str) -> Cue:
    return Cue(tuple(_blanks(words).split("|")), _re(pattern))


_I = "i(?<![a-z]i)"  # the letter first and then that no other is before it: so `re` skips to it

_CANNOT = r"""(?:
    can't|can_?not|couldn't|could_not|won't|will_not|wouldn't|would_not|shouldn't|should_not|must_not|do_not|don't
    |(?:'d|would|will|'ll|must|have_to|'ll_have_to|need_to|'m_going_to|am_going_to)
        _(?:(?:have_to|rather|respectfully|politely|firmly|prefer)_){0,3}
        (?:not|decline|refuse|pass|refrain|abstain|be_unable)
    |(?:'m|am|'d_be|would_be)_(?:(?:really|very|so|sorry,?|afraid|just|currently|also|still)_){0,4}
        (?:unable|uncomfortable|incapable|prohibited|restricted|only_able|forbidden
        |not_(?:really_|currently_|quite_)?(?:able|authori[sz]ed|allowed|permitted|programmed|designed|equipped|going
            |comfortable|willing|prepared|in_a_position|capable|qualified|here))
    |decline|refuse
)(?![a-z])"""

_BETWEEN = r"""(?:_(?:
    to|from|of|with|in|be|able|comfortable|feel|want|and|or|will_not|won't|cannot|can't|not|even|ever|also|simply|just
    |really|actually|directly|ethically|legally|personally|fully|honou?r|in_good_conscience|under_any_circumstances
    |currently|knowingly|allowed|ability|the|have|possibly|access
)){0,7}_(?:you_)?"""

_HELPING = r"""(?:
    help(?:ing)?(?!_but|_feeling|_wonder|_myself|_smil|_laugh|_think)|assist|aid|provid|giv(?:e|ing)|offer|shar(?:e|ing)
    |show|teach|tell_you|answer|respond_to|discuss|talk_about|comment|speak_(?:to|on)|engag|participat|fulfil|satisf
    |complet|comply|do_(?:that|this|so|it)\b|support|condon|promot|encourag|endors|advocat|facilitat|recommend(?!_(?:it|them)\b)|advis
    |suggest|guid|instruct|creat|writ(?:e|ing)|generat|produc|draft|craft|outlin|compos|reproduc|invent|explain|describ
    |mak(?:e|ing)_(?:jokes?|fun|up|this|that|a|any|such|light)|list|identify|remov|brows|draw|display|process|cancel
    |delet|predict|diagnos|walk(?:ing)?_you|circumvent|bypass|insult|go_for|take_(?:a_)?(?:side|part|stance|position)
    |continu|pretend|transfer|entertain|accommodat|perform|carry_out|access_(?:personal|real|private|the_internet|external|your|live)
    |open_(?:links?|web|urls?|files)|search_the|pass(?:_on_this)?\b|decline|refuse|role-?play|impersonat|mimic
    |contribut|tolerat|justif|confirm|verify|agree_(?:with|to)|hack|steal|kill|harm|hurt|sing\b|physically|book\b
    |send_(?:e-?mail|message)|listen|execut(?:e|ing)|determin|be_(?:a_)?part|be_of_(?:help|assistance)|look_up|retriev
    |disclos|reveal|print|judge|rank|rate|speculat|indulg
)(?![^.!?\n]{0,40}_enough\b)"""

_EN = Wording(
    words=(),
    mine=(
        _cue(
            "n't|not|unable|uncomfort|declin|refus|rather|only_able|prohibit|incapable|restricted|forbidden|pass|regret|sorry|apolog",
            rf"""{_I}_?(?:must_|am_sorry,?_(?:but_)?i_)?{_CANNOT}{_BETWEEN}{_HELPING}
            |{_I}(?:'m|_am|_must|_have|_aim)[^.!?\n]{{0,80}}?_(?:and|so|but)_(?:therefore_|thus_|i_)?{_CANNOT}{_BETWEEN}{_HELPING}
            |{_I}_(?:must|have_to|need_to|'ll_have_to|will_have_to|respectfully)_(?:respectfully_|politely_)?
                (?:decline|refuse|pass_on)
            |{_I}(?:'m|_am)_going_to_(?:have_to_)?(?:decline|refuse|pass_on)|{_I}_regret_to_(?:inform|say)
            |{_I}_(?:do_not|don't)_(?:currently_)?have_(?:the_(?:ability|capability|capacity|authority)|access_to
                |permission|any_information_about_that|personal_(?:data|information)
                |information_(?:on|about)_(?:that|private))
            |{_I}_(?:do_not|don't)_(?:feel|think)_(?:it(?:'s|_is|_would_be)_)?(?:comfortable|appropriate|right|i_should)
            |^(?:i'm|i_am)?_?(?:really_|very_|so_)?(?:sorry|i_apologi[sz]e|apologies|my_apologies),?_but_(?:i\b|as_an|it|that|this)""",
        ),
        _cue(
            "strongly",
            rf"""{_I}(?:_must|_would|'d|_have_to|_need_to)?_strongly_(?:advise|urge|discourage|recommend|caution)
            _(?:you_)?(?:against|from|you_from|using|not_to)""",
        ),
        _cue(
            "must|have_to|need_to|would_like_to",
            rf"""{_I}_(?:must|have_to|need_to|would_like_to)_(?:respectfully_)?
            (?:inform|point_out|emphasi[sz]e|clarify|remind|stress|advise|caution)[^.!?\n]{{0,80}}?
            (?:not_(?:appropriate|ethical|safe|respectful|responsible|acceptable|legal|healthy)|illegal|unethical|harmful
            |violen|against|stereotyp)""",
        ),
        _cue("unable_to", r"(?<![a-z])we(?:'re|_are)_unable_to_(?:help|assist|provide|fulfil)"),
        _cue(
            "assistant|chatbot|bot_|service|system|request",
            rf"""\bth(?:is|e)_(?:virtual_|ai_)?(?:assistant|chatbot|bot|service|system)_(?:is_(?:unable|not_able)_to|{_CANNOT})
                {_BETWEEN}{_HELPING}
            |\b(?:your|this|that)_request_(?:is_one_(?:that_)?i_)?(?:can't|cannot|can_not|won't|will_not|could_not)_be_
                (?:fulfil|complet|process|answer|honou?r|met\b|accommodat)""",
        ),
        _cue(
            "unable|not_able|not_supposed|not_meant|won't|will_not|turn_this|turn_that|declining|no_way",
            rf"""{_I}(?:'m|_am|_would_be|'d_be)_(?:(?:afraid|sorry,?|also|really|currently)_){{0,2}}(?:that_i(?:'m|_am)_)?
                (?:unable|not_able|not_supposed|not_meant)_to_(?!make_out|tell_(?:if|whether|which)|find|reproduce_the)
            |{_I}_(?:won't|will_not|cannot_and_will_not)_(?!be_(?:able_to_make|there|long|surprised|back)|wait|lie|bore|go_into
                |sugar|pretend_to_know|judge|forget|regret|hesitate|know|need|take_(?:long|up)|bother|keep|let_you_down|rush)[a-z]
            |{_I}(?:'ll|_will|_must|_have|_need)(?:_have)?(?:_to)?_turn_(?:this|that|it)_(?:[a-z]{{1,10}}_)?down
            |{_I}(?:'m|_am)_(?:respectfully_)?declining|there(?:'s|_is)_no_way_for_me_to""",
        ),
        _cue(
            "not_allow|n't_allow|not_permit",
            r"(?<![a-z])we_(?:do_not|don't)_(?:allow|permit)_the_(?:creation|generation|use)_of",
        ),
        _cue(
            "no_way|no_ability|no_means|refrain|stop_here|say_no|stop_there|only_able|can_only",
            rf"""{_I}_have_no_(?:way|ability|means|permission)_(?:of|to)
            |{_I}_(?:must_|will_|shall_|have_to_)?refrain_from
            |{_I}_(?:need|have|must|'ll_have|am_going|'m_going)(?:_to)?(?:_have_to)?_(?:stop_(?:here|there)|say_no)\b
            |{_I}(?:'m_only_able_to|_am_only_able_to|_can_only)_(?:help|answer|assist|discuss|talk|respond|chat|provide_information)""",
        ),
        _cue(
            "can't|cannot|won't",
            rf"""^(?:no|nope|nah|sorry|unfortunately|afraid_not)[,.!]?_(?:but_)?(?:i_)?(?:can't|cannot|won't)_{_HELPING}""",
        ),
    ),
    rule=(
        _cue(
            "appropriate|ethical|right|okay|legal|responsible|acceptable|possible_for_me|within_my|in_line_with",
            r"""(?:it(?:'s|_is|_would_be|_would|'d_be)|(?:is|would_be))_(?:not|n't|neither|never|un|in)(?:_be)?_?
                (?:[a-z]{1,20}ly_)?(?:appropriate|ethical|right|okay|ok|legal|responsible|acceptable|safe|possible_for_me
                |within_my|in_line_with_my)[a-z_,]{0,40}?_?
                (?:to_(?:provid|giv|shar|offer|discuss|promot|encourag|help|assist|writ|creat|generat|mak|mock|support
                |suggest|reveal|answer|terminat|try|manipulat|harm|use)|for_me|programming|guidelines|able\b|can\b)
            |not_within_my_(?:programming|scope|capabilit|abilit|power)""",
        ),
        _cue(
            "against",
            r"""against_(?:(?:my|our|the)_(?:[a-z]{1,20}_){0,2}
                (?:programming|guidelines|polic|principles|values|use|ethic|terms|safety|code)|ethical)""",
        ),
        _cue(
            "violat",
            r"""violat[a-z]{1,4}_(?:my|our|the|content|ethical)[a-z_]{0,24}
                (?:guidelines|polic|terms|principles|standards)""",
        ),
        _cue(
            "something_i|topic_i|request_i|that_i|line_i",
            r"""not_(?:something|a_topic|a_request)_(?:that_)?i(?:'m|_am|_can|'ll|_will|'d)
            |(?:something|line|a_topic|a_request)_(?:that_)?i_(?:do_not|don't|won't|will_not|can't|cannot|refuse)
            |n't_(?:something|a_topic|a_request)_(?:that_)?i(?:'m|_am|_can|'ll|_will|'d)""",
        ),
        _cue(  # in its first sentence, and whatever it is that cannot be done
            "can't|cannot",
            rf"""\A[^.!?\n]{{0,90}}?{_I}(?:'m_an?_[a-z_-]{{2,30}}_and)?_(?:really_|just_)?(?:can't|cannot)_(?!wait|believe|imagine
                |think|stress|emphasi[sz]e|overstate|tell_(?:if|whether|which|from)|see\b|find|hear|wrap|remember|recall|guarantee
                |be_(?:sure|certain)|say_(?:for|enough|whether|if)|promise|decide|rule|help_(?:but|feeling)|thank|afford|express
                |argue|deny|complain|get_(?:enough|over)|stop|live|sleep|stand|speak_for)[a-z]""",
        ),
        _cue(
            "my_place|stay_neutral|remain_neutral",
            rf"(?:not|n't)_my_place_to|{_I}(?:'ll|_will|_must|_try_to|_have_to)_(?:stay|remain)_neutral",
        ),
        _cue("crosses|possible_for_me", r"crosses_a_(?:[a-z]{1,12}_)?line|(?:n't|not)_possible_for_me"),
        _cue(
            "outside|beyond|not_within|n't_within",
            r"""(?:outside|not_within|isn't_within)_(?:of_)?(?:my|what_i|the_scope_of_what_i)
                (?:_(?:programming|scope|capabilit|expertise|abilit|purview|guidelines|can|am)|'m|'ll)
            |beyond_(?:the_scope_of_)?(?:my|what_i|this_conversation)(?:_current)?(?:_(?:scope|capabilit|abilit|can|am)|'m|\b)""",
        ),
        _cue(
            "programm|guidelines|polic|purpose|instructions|training|trained|designed|built|i'm_here_to|i_am_here_to",
            r"""(?:my|our)_(?:[a-z]{1,20}_){0,2}(?:programming|guidelines|polic[a-z]{1,3}|purpose|instructions|training)
                [^.!?\n]{0,40}(?:prevent|prohibit|(?:do|does)(?:_not|n't)_(?:allow|permit)|neither|not_allow|restrict|forbid)
            |i(?:'m|_am)_(?:designed|programmed|trained|built|here)_to_(?:avoid|refuse|not|decline)""",
        ),
        _cue("only_here", "i(?:'m|_am)_only_here_(?:for|to)"),
        _cue(
            "let's",
            "let's_(?:stick_to|talk_about_something_else|keep_(?:our|this|the)_conversation|change_the_(?:topic|subject))",
        ),
        _cue(
            "privacy|publicly",
            r"""(?:important|should|must|please|essential|need)_(?:[a-z]{1,20}_){0,3}respect_(?:[a-z']{1,20}_){0,4}privacy
            |not_publicly_(?:available|known|disclosed)""",
        ),
        _cue("prefer_not", "(?<!if_you_)(?<!you_would_)prefer_not_to_(?!be_)"),
    ),
    moral=_cue(
        "illegal|ethical|immoral|wrong|harmful|cruel|accept|appropriate|crime|criminal|the_law|violation|okay|justif|answer"
        "|sorry|respectful|generali|stereotyp|consequences|excuse|good_idea|fair|accurate|harm|distress|injur|death|deserves",
        r"""(?:is|are|would_be|can_be|it's)_(?:(?:both|also|always|very|highly|extremely|strictly|morally|generally
            |considered|simply|never|not|neither|dangerous,?|cruel,|and|[a-z]{3,12}ly)_){0,5}(?:illegal|unethical|immoral
            |wrong|harmful|cruel|unacceptable|inappropriate|a_(?:serious_|federal_)?crime|a_criminal|against_the_law
            |a_violation|acceptable|okay|ok|good|justified|appropriate|the_answer|ethical|accurate_nor|fair|disrespectful
            |a_good_idea)
        |sorry_(?:to_hear_)?that_you(?:'re|_are)_(?:feeling|going|having|struggling)|stereotype
        |respectful_and_helpful|helpful_and_respectful|making_generali[sz]ations|no_one_deserves
        |can_(?:cause|lead_to|have|result_in)_[^.!?\n]{0,40}(?:harm|distress|damage|injur|death|consequences)
        |no_(?:justification|excuse|place)_for""",
    ),
    redirect=_re(
        r"""seek(?:ing)?_(?:help|support|professional|assistance|immediate)|reach_out_to|talk(?:ing)?_to_(?:a|someone|your|friends|her|him|them)
        |consult|(?:crisis|suicide|emergency)_(?:line|hotline|helpline|services)
        |(?:i|we)_(?:(?:would|strongly|'d|'ll)_){0,2}(?:encourage|urge|recommend|advise|discourage|suggest)
        |(?:it's|it_is)_(?:important|crucial|essential|best|better|vital|always_best|always_important)_(?:that|to)
        |(?:should|must|let's|deserves?|we)_(?:(?:all|always|be|to)_){0,3}(?:treat|respect|strive|promote)
        |every(?:one|body)_(?:deserves|should)|built_on_mutual|instead,|if_you(?:'re|_are)_(?:having_thoughts|struggling|feeling|experiencing)
        |lead_to_(?:heavy|serious|legal|severe)|consider(?:ing)?_(?:talk|seek|speak|find)ing|equal_treatment
        |legal_(?:alternatives|ways|means)|never_acceptable|please_(?:treat|respect|refrain|do_not|don't|prioriti|contact|reach|seek|remember)|focus_on_your
        |serious_(?:legal_)?(?:consequences|harm)"""
    ),
    helps=_re(
        r"""(?:however|instead|but|that_said|though|rather|alternatively|generally|if)\b[^.!?\n]{0,60}?
            (?:here(?:'s|_is|_are)|\bi_can\b|i_could|i'd_be_happy_to_(?:help_you|explain|share|suggest)|consider|let_me
            |you_(?:can|could|might|may)_(?!contact|check|try_asking)|ours_|our_address|[0-9]{1,3}_days|must_give)
        |what_i_can_(?:do|share|offer)|here(?:'s|_is|_are)_(?:some|a|an|one|what|how|the|two|three|my)
        |^[\t_]{0,8}(?:[-*•]|[0-9]{1,2}[.)])_|\b1\._|for_example:|supporters_argue|you_can_return|the_translation_is
        |are_some_(?:alternatives|common|general)"""
    ),
    answers=_re(
        r"you_(?:can|could|may|might|need_to)\b|depends|^(?:yes|sure|certainly|of_course|great)\b|start_by|_first,|use_(?:a|the)\b"
    ),
)


_NEVER = re.compile(r"(?!)")


def _other(words: str, *, mine: str, rule: str, moral: str, redirect: str, helps: str) -> Wording:
    cues = [Cue((), _re(pattern)) for pattern in (mine, rule, moral)]
    return Wording(
        words=tuple(_blanks(words).split("|")),
        mine=(cues[0],),
        rule=(cues[1],),
        moral=cues[2],
        redirect=_re(redirect),
        helps=_re(helps + r"|^[\t_]{0,8}(?:[-*•]|[0-9]{1,2}[.)])_"),
        answers=_NEVER,
    )


_GERMAN_HELPING = r"""(?:
    helfen|hilfe|unterstütz|weiterhelfen|geben|anbieten|bereitstellen|beantworten|nachkommen|erstellen|schreiben|liefern
    |teilen|nennen|erfüllen|mitteilen|diskutieren|erklären|verfassen|behilflich|dabei|machen|äußern
)"""
_DE = _other(
    "nicht|kein|leider_|ablehn|strafbar|straftat|verboten|unethisch|ist_illegal|akzeptabel|richtlinien",
    mine=rf"""\bich_(?:kann|darf|möchte|werde|könnte|will)_(?:\w{{1,20}},?_){{0,8}}?(?:nicht|kein\w{{0,2}})\b
            (?!_genug|_glauben|_erwarten|_warten)[^.!?\n]{{0,60}}?{_GERMAN_HELPING}
        |\b(?:kann|darf|möchte|werde)_ich_(?:\w{{1,20}},?_){{0,8}}?(?:nicht|kein\w{{0,2}})\b[^.!?\n]{{0,60}}?{_GERMAN_HELPING}
        |\bich_bin_(?:leider_)?nicht_(?:in_der_lage|befugt|berechtigt|dafür)|\bich_muss_(?:\w{{1,20}}_){{0,3}}ablehnen
        |\bich_lehne_(?:es_)?ab|\bich_habe_(?:leider_)?keinen_zugriff""",
    rule=r"""(?:gegen|mit)_(?:meine|unsere)n?_(?:\w{1,20}_)?(?:richtlinien|grundsätz|prinzipien)|außerhalb_meine[rs]
        |nicht_(?:angemessen|ethisch|vertretbar),_""",
    moral=r"""(?:ist|wäre)_(?:\w{1,20}_){0,3}
        (?:illegal|strafbar|unethisch|verboten|falsch|gefährlich|niemals_akzeptabel|eine_straftat)""",
    redirect="wenden_sie_sich|wende_dich|suchen_sie|such_dir|es_ist_wichtig|rate_(?:ich|dringend)|stattdessen",
    helps=r"""(?:stattdessen|aber|jedoch|allerdings)[^.!?\n]{0,50}?(?:ich_kann|kann_ich|hier_(?:sind|ist)|du_kannst
        |sie_können)|hier_(?:sind|ist)""",
)
_FR = _other(
    "je_ne|je_n'|désolé|regrett|contraire|n'est_pas|serait|je_refuse|je_dois|je_préfère|impossibilité|est_illégal|un_délit",
    mine=r"""\bje_ne_(?:peux|suis|pourrai|vais|souhaite|dois|saurais|veux)_(?:\w{1,20}_){0,3}?(?:pas)\b(?!_attendre|_croire)
            [^.!?\n]{0,50}?(?:aider|fournir|donner|répondre|assister|partager|écrire|créer|proposer|offrir|accéder
            |satisfaire|générer|en_mesure|autorisé|capable|discuter|expliquer|rédiger|faire_(?:cela|ça)|prêt|encourager)
        |\bje_ne_(?:peux|puis|saurais)_(?:vous|t'|te|malheureusement)|\bje_(?:dois|préfère)_(?:refuser|décliner|ne_pas)
        |\bje_n'ai_pas_(?:accès|la_(?:possibilité|capacité))|\bje_suis_dans_l'impossibilité|\bje_refuse""",
    rule=r"""contraire_à_(?:mes|nos|l'éthique)|(?:n'est|serait)_pas_(?:approprié|éthique|acceptable)_de
        |va_à_l'encontre_de_(?:mes|nos)|en_dehors_de_(?:mon|mes|notre)""",
    moral=r"""(?:est|sont|serait)_(?:\w{1,20}_){0,3}(?:illégal|interdit|contraire_à_l'éthique|immoral|dangereu
        |un_(?:délit|crime)|inacceptable)""",
    redirect=r"""consult|il_est_important|contactez|je_vous_(?:conseille|encourage|recommande|invite)|demandez_de_l'aide
        |plutôt""",
    helps=r"""(?:cependant|toutefois|mais|en_revanche|plutôt|néanmoins)[^.!?\n]{0,50}?
        (?:je_peux|voici|vous_pouvez|puis-je)|\bvoici""",
)
_ES = _other(
    """no_pued|no_podr|no_debo|no_voy|no_quiero|no_estoy|no_tengo|no_me_|lo_siento|lamento|niego|negarme|en_contra|no_es_
    |no_sería|debo_|es_ilegal|delito""",
    mine=r"""\bno_(?:me_es_posible|puedo|podré|podría|debo|voy_a|quiero|me_siento_cómod\w
            |estoy_(?:\w{1,20}_)?(?:capacitad\w|en_condiciones|dispuest\w))(?!_esperar|_creer|_dejar)
            [^.!?\n]{0,50}?(?:ayud|proporcion|dar|ofrec|respond|compart|escrib|crear|generar|asist|brind|cumpl|facilit
            |acced|hacer_(?:eso|esto)|hablar|apoyar|promover|recomendar|explicar|proveer)
        |\bno_tengo_(?:acceso|la_capacidad|permitido)|\bno_estoy_(?:\w{1,20}_)?autorizad\w_(?:a|para)\b|\bdebo_(?:negarme|rechazar|declinar)|\bme_niego_a""",
    rule=r"""(?:va|está|iría)_en_contra_de_(?:mis|nuestras|la)|no_(?:es|sería)_(?:apropiado|ético|correcto|adecuado)
        |fuera_de_mi""",
    moral=r"""(?:es|son|sería)_(?:\w{1,20}_){0,3}(?:ilegal|delito|inmoral|peligroso|inaceptable|poco_ético|un_crimen)""",
    redirect=r"""busca_ayuda|busque_ayuda|es_importante|te_(?:recomiendo|aconsejo|animo)|le_(?:recomiendo|aconsejo)
        |en_su_lugar|consult""",
    helps=r"""(?:sin_embargo|pero|en_cambio|en_su_lugar|no_obstante)[^.!?\n]{0,50}?(?:puedo|aquí|puedes|puede_)
        |\baquí_(?:tienes|hay|van)""",
)
_IT = _other(
    "non_|mi_dispiace|spiacente|rifiut|contro_|contrari|declinare|illegale|reato",
    mine=r"""\bnon_(?:posso|potrò|sono_in_grado|sono_autorizzat\w|intendo|voglio|mi_sento|mi_è_possibile)
            (?!_aspettare|_credere|_fare_a_meno)[^.!?\n]{0,50}?(?:aiut|forn|dar|offr|rispond|condivid|scriv|crea|genera
            |assist|soddisf|acced|far(?:e|lo)|parlare|promuov|consigli|spieg|comod|supportare)
        |\bnon_ho_(?:accesso|la_possibilità|la_capacità)|\bdevo_(?:rifiutare|declinare)|\bmi_rifiuto""",
    rule=r"""va_contro_(?:le_mie|i_miei|le_nostre|la)|contrari\w_(?:alle_mie|ai_miei|all'etica)
        |non_(?:è|sarebbe)_(?:appropriato|etico|corretto|opportuno)|al_di_fuori_dell""",
    moral=r"""(?:è|sono|sarebbe)_(?:\w{1,20}_){0,3}
        (?:illegal\w|un_reato|immoral\w|pericolos\w|inaccettabil\w|non_etico)""",
    redirect="cerca_aiuto|rivolgiti|si_rivolga|è_importante|ti_(?:consiglio|incoraggio|invito)|le_consiglio|invece",
    helps=r"""(?:tuttavia|però|ma|invece|piuttosto)[^.!?\n]{0,50}?(?:posso|ecco|puoi|può_)|\becco""",
)
_PT = _other(
    """não_poss|não_pod|não_vou|não_devo|não_quero|não_estou|não_tenho|não_me_|não_sou|desculp|lamento|infelizmente|recus
    |contra_|viola|fora_d|não_é_|não_seria|ilegal|crime""",
    mine=r"""\bnão_(?:me_é_possível|posso|poderei|poderia|podemos|devo|vou|quero|consigo|me_sinto_confortável
            |(?:estou|sou)_(?:\w{1,20}_)?(?:autorizad\w|capaz|apto|em_condições|dispost\w|programad\w))
            (?!_esperar|_acreditar|_deixar)[^.!?\n]{0,50}?(?:ajud|fornec|dar\b|oferec|respond|compartilh|partilh|escrev|criar
            |gerar|auxili|atend|cumpr|facilit|acess|fazer_iss|falar|apoiar|promov|recomend|explic|produz|continu)
        |\bnão_tenho_(?:acesso|a_capacidade|permissão|como)|\b(?:devo|preciso|tenho_de|tenho_que)_(?:recusar|declinar)
        |\b(?:eu_)?(?:me_recuso|recuso-me)_a""",
    rule=r"""(?:vai|iria|está)_contra_(?:as_|os_)?(?:minhas|meus|nossas|nossos|diretrizes|política)|viola_(?:as|os|minhas|nossas)
        |não_(?:é|seria)_(?:apropriado|ético|correto|adequado)|fora_d[oae]_(?:meu|minha|que_posso)""",
    moral=r"""(?:é|são|seria)_(?:\w{1,20}_){0,3}(?:ilegal|um_crime|imoral|perigos\w|inaceitável|antiético)""",
    redirect=r"procure_ajuda|busque_ajuda|é_importante|recomendo_que|aconselho|em_vez_disso|consulte|entre_em_contato",
    helps=r"""(?:no_entanto|porém|mas|em_vez_disso|contudo)[^.!?\n]{0,50}?(?:posso|aqui|você_pode)|\baqui_(?:está|estão|vão)""",
)
_ZH = _other(
    "不能|无法|無法|不会|不會|不可以|没办法|沒辦法|拒绝|拒絕|抱歉|对不起|對不起|违反|違反|违法|違法|非法|不道德|超出",
    mine=r"""(?:我|本助手|助手|本模型)[^。!!??\n,,]{0,12}?(?:不能|无法|無法|不会|不會|不可以|没办法|沒辦法|不便)
            [^。!!??\n]{0,24}?(?:帮|幫|协助|協助|提供|回答|满足|滿足|完成|处理|處理|生成|创作|創作|撰写|写|寫|分享|讨论|討論|告诉|告訴
            |支持|参与|參與|透露|推荐|执行|執行)
        |(?:抱歉|对不起|對不起|很遗憾|很遺憾)[^。!!??\n]{0,12}?(?:不能|无法|無法|不便|没办法|沒辦法)
        |我(?:必须|必須|只能)?拒(?:绝|絕)|我没有(?:权限|能力|办法)""",
    rule=r"""(?:违反|違反|不符合)(?:了)?(?:我|我们|我們|相关|相關|使用|平台|安全|道德)[^。!!\n]{0,12}?(?:准则|準則|政策|规定|規定|原则|原則|规范)
        |超出(?:了)?我的""",
    moral="(?:是|属于|屬於|涉及)[^。!!\n]{0,8}?(?:违法|違法|非法|不道德|犯罪|有害)",
    redirect="建议|建議|请(?:寻求|联系|咨询|遵守)|請(?:尋求|聯繫|諮詢)|重要的是",
    helps="(?:但|不过|不過|然而|相反)[^。!!\n]{0,16}?我(?:可以|能|很乐意)|以下是|您可以(?:尝试|考虑)",
)
_JA = _other(
    "できません|できかね|いたしかね|致しかね|しかねます|お断り|反します|違反|違法|不適切|倫理",
    mine=r"""(?:お応え|お答え|お手伝い|ご提供|提供|協力|ご協力|支援|サポート|回答|ご案内|生成|作成|お伝え|お教え|共有|対応|参加|執筆)
            (?:する|を|を行う)?(?:こと)?(?:は|が|も)?(?:でき(?:ません|かねます)|いたしかねます|致しかねます|しかねます)
        |お断り(?:します|いたします|させて)""",
    rule="(?:ガイドライン|ポリシー|規約|方針|倫理)[^。\n]{0,8}?(?:に反|に違反|上(?:、)?でき)|私の(?:能力|範囲)を超え",
    moral="(?:違法|犯罪|非倫理的|不適切|有害)(?:です|であり|な行為)",
    redirect="専門家|相談|ご連絡|お勧めします|おすすめします|大切です|重要です",
    helps="(?:代わりに|ただし|ですが|しかし)[^。\n]{0,24}?(?:できます|可能です|ご紹介)|以下(?:は|に|の)",
)

PACKS = {"en": _EN, "de": _DE, "fr": _FR, "es": _ES, "it": _IT, "pt": _PT, "zh": _ZH, "ja": _JA}
"""By ISO 639-1 code. Another language is another entry, and its lines in tests/data/checks/refusals.jsonl."""
