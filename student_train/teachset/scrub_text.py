"""Names, addresses, dates of birth and passwords in prose, found by what stands around them.

`pii_find` leaves these alone, because a check that scores answers must seldom be wrong. What is taught must rather have
a word masked too many, so here they are looked for, as far as that goes without a model: after `my name is`, `Dear`,
`Kind regards`, a title, `Address:`; streets by the shapes that the post of a country writes them in. A name that nothing
points at is not found here; the session may know it from elsewhere (`scrub`).
"""

# ruff: noqa: E501 - tables of words

import re
from collections.abc import Iterator

from student_train.teachset.placeholders import Kind
from student_train.teachset.scrub_words import GIVEN_NAMES, NOT_NAMES, TITLES, kind_of

Found = tuple[Kind, int, int]

_LETTERS = [chr(code) for code in range(0x41, 0x530) if chr(code).isalpha()]  # Latin, Greek, Cyrillic
UP = "".join(char for char in _LETTERS if char.isupper())
LOW = "".join(char for char in _LETTERS if not char.isupper())
_CAP = rf"(?:[dDlL]['’](?=[{UP}]))?[{UP}][{UP}{LOW}]*(?:['’\-][{UP}{LOW}][{UP}{LOW}]*)*"
_PARTICLE = r"(?:van|von|vom|der|den|de|del|della|di|da|dos|das|do|du|la|le|al|el|bin|ibn|ter|ten|zu|zum|zur|af|av|y|e|und|'t|[dD]['’])"
_INITIAL = rf"[{UP}]\.(?:[ -]?[{UP}]\.)*"
_TITLE = rf"(?:(?:{TITLES})\b\.?[ ]?)"
NAME = (
    rf"(?:{_TITLE}{{0,2}})(?:(?:{_PARTICLE}) ){{0,2}}(?:{_INITIAL}|{_CAP})"
    rf"(?:[ \u00a0](?:(?:{_PARTICLE})[ \u00a0]){{0,3}}(?:{_INITIAL}|{_CAP})){{0,4}}"
)
_WORD = re.compile(rf"[{UP}{LOW}][{UP}{LOW}'’\-]*\.?")

# What stands before a name. In the first list one word is name enough; in the second it takes two.
_ONE = (
    r"\b(?i:my (?:full |first |last |middle |maiden |legal |user)?name(?:['’]s|\s+is)|(?:is|are|be|was|being|am) called|"
    r"goes by|the name(?: is| of)?|under the name(?: of)?|in the name of|on behalf of|c/o|attn\.?:?|attention:?|"
    r"(?:ich|er|sie) hei(?:ß|ss)e|(?:mein|der|ihr|sein) name (?:ist|lautet)|auf den namen|läuft auf|zu händen|z\. ?hd\.?|"
    r"je m['’]appelle|mon nom est|au nom de|nommée?|me llamo|mi nombre(?: completo)? es|a nombre de|mi chiamo|"
    r"il mio nome è|a nome di|(?:o )?meu nome é|chamo-me|me chamo|em nome de|mijn naam is|ik heet|op naam van|"
    r"mam na imię|nazywam się|jag heter|mitt namn är|nimeni on|"
    r"asked? for|spo(?:ke|ken) (?:to|with)|talk(?:ed|ing)? (?:to|with)|chatted with|signed (?:for )?by|sign for it is|"
    r"addressed to|made out to|(?:invoice|out|registered|issued|assigned|belongs|belonging|transferred|paid) to|"
    r"my (?:husband|wife|spouse|partner|son|daughter|mother|father|mum|mom|dad|brother|sister|boss|colleague|friend|"
    r"neighbou?r|flatmate|roommate|assistant|landlord|tenant|cousin|uncle|aunt|nephew|niece|grandson|granddaughter|"
    r"grandmother|grandfather|fiancée?|girlfriend|boyfriend|lawyer|doctor),?|"
    r"(?:mein(?:e|em|en|er)?) (?:mann|frau|sohn|tochter|mutter|vater|bruder|schwester|chef|kollege|kollegin|freund|freundin|nachbar|nachbarin))"
    r"[ \u00a0]+[\"'„“«]?"
)
_TWO = (
    r"\b(?i:(?:i am|i['’]m|this is|it['’]s|here is|ich bin|hier ist|je suis|c['’]est|soy|sono|sou|ik ben|jag är|jestem|"
    r"(?:the )?(?:customer|client|user|caller|patient|guest|recipient|tenant|passenger|cardholder|employee|manager|agent|sender|"
    r"buyer|owner|member|subscriber|policyholder|account holder|driver|courier|technician|kunde|kundin|herr|frau|cliente?)|"
    r"named|name|called|contact|hi|hello|dear|hey|for|from|to|by|with|of|and|at|is|was|tell|call|ask|meet|met|thank|thanks|thank you|via|"
    r"für|von|an|bei|mit|pour|par|chez|avec|para|por|con|voor|van|per|per conto di|dla|för|till|och|und))"
    r"[ \u00a0]+[\"'„“«]?"
)
_GREETING = (
    r"(?m:^|(?<=[.!?>\n] )|(?<=[\"'„“]))[ \t>]*(?i:hi|hello|hey|dear|good (?:morning|afternoon|evening)|liebe[rs]?|hallo|moin|guten (?:tag|morgen|abend)|"
    r"sehr geehrte[rs]?|werte[rs]?|bonjour|bonsoir|salut|ch(?:er|ère)|hola|estimad[oa]|querid[oa]|buenos días|buenas tardes|"
    r"buongiorno|ciao|gentile|car[oa]|olá|prezad[oa]|beste|geachte|hoi|hej|hejsan|cześć|szanown[ya]|thanks|thank you|"
    r"danke|merci|gracias|grazie|obrigad[oa]|bedankt),?[ ]+(?:there[ ]+)?"
)
_CLOSING = (
    r"(?im:(?:^|(?<=[.!?,;)] )|(?<=\n))[ \t>]*(?:(?:all the |with )?(?:my |our )?(?:kind(?:est)?|best|warm(?:est)?|many) (?:regards|wishes|thanks)|regards|best|"
    r"cheers|(?:many )?thanks(?: again| in advance| a lot| so much| very much| for (?:your|the) [^\n,.]{1,30})?|thank you(?: again| in advance| so much| very much| for (?:your|the) [^\n,.]{1,30})?|thx|ta|(?:yours )?(?:sincerely|truly|faithfully)(?: yours)?|yours|"
    r"respectfully|cordially|love|take care|signed|mit freundlichen grüßen|mfg|(?:viele|liebe|beste|schöne|herzliche|freundliche) grüße|gruß|"
    r"lg|vg|vielen dank(?: im voraus)?|danke(?: schön)?|cordialement|bien à vous|(?:bien )?cordialement|merci(?: d['’]avance| beaucoup)?|salutations(?: distinguées)?|"
    r"(?:un )?saludos?(?: cordiales)?|atentamente|(?:muchas )?gracias|(?:cordiali|distinti) saluti|grazie(?: mille)?|saluti|"
    r"atenciosamente|(?:muito )?obrigad[oa]|cumprimentos|met vriendelijke groet(?:en)?|mvg|groet(?:en|jes)?|(?:alvast )?bedankt|"
    r"med vänliga hälsningar|mvh|vänliga hälsningar|tack|pozdrawiam|z poważaniem|dziękuję)[ ]*[,.!:–—-]*[ \t]*(?:\n[ \t>]*){0,2}[–—-]{0,2}[ \t]*)"
)
_ENDS = r"(?=[ \t]*(?:$|[,.!?;:)\n\"'”<(|–—]| -|\Z))"
_NAME_ONE = re.compile(rf"(?:{_ONE})(?P<name>{NAME})")
_NAME_TWO = re.compile(rf"(?:{_TWO})(?P<name>{NAME})")
_NAME_GREETED = re.compile(rf"(?:{_GREETING})(?P<name>{NAME}){_ENDS}")
_NAME_SIGNED = re.compile(rf"(?:{_CLOSING})(?P<name>{NAME}){_ENDS}")
_NAME_TITLED = re.compile(
    rf"(?<![^\W_])(?P<name>{_TITLE}(?:{_TITLE})?(?:{_PARTICLE} ){{0,2}}{_CAP}(?:[ \u00a0](?:{_PARTICLE}[ \u00a0]){{0,2}}{_CAP}){{0,3}})"
)
_NAME_LAST_LINE = re.compile(rf"\n[ \t>]*(?:[–—-]{{1,2}}[ \t]*)?(?P<name>{NAME})[ \t]*(?:\n|\Z)")
_NAME_DASHED = re.compile(rf"(?<=[^\s,])[ ]+[–—-]{{1,2}}[ ]?(?P<name>{NAME})[ \t]*(?:\n|\Z)")
_NAME_HERE = re.compile(
    rf"(?:^|(?<=[.!?,\n] )|(?<=\n))(?P<name>{NAME}),? (?i:here|speaking|hier|ici|aquí|am apparat)\b", re.MULTILINE
)
_NAME_BEFORE = re.compile(
    rf"(?P<name>{NAME}),? ?[(<\[]?(?:(?i:born|née?|geb\.|e-?mail|tel|phone|mobile)[.: ]|<?[\w.+-]{{1,64}}@)"
)
_NAME_ADDRESSED = re.compile(rf"(?P<name>{NAME}),[ \n]+(?=\d{{1,4}}[a-z]?,? {_CAP})")
_NAME_INITIAL = re.compile(
    rf"(?<![\w.])(?<!size )(?<!\d )(?P<name>(?!P\. ?S\.)[{UP}]\. ?(?:[{UP}]\. ?)?(?:{_PARTICLE} )?[{UP}][{LOW}]{{2,}}(?:-[{UP}][{LOW}]+)?)(?!\w)"
)
_LOWER_NAME = re.compile(r"\b(?i:my name is|name['’]s|i am called|ich heiße|me llamo|je m['’]appelle|mi chiamo)[ ]+(?P<name>[^\W\d_A-Z]{2,20}(?: [^\W\d_A-Z]{2,20}){0,2})(?=[ ]*(?:$|[,.!?;\n]| and ))", re.MULTILINE)  # fmt: skip

# Identity numbers that their check digits do not give away, or that have none: any number that is called one.
_IDENTITY = re.compile(
    r"\b(?i:ssn|social security|national insurance|nhs|sin|itin|tin|(?:tax|fiscal|national|personal|citizen|resident|identity|identification|"
    r"passport|licen[cs]e|id)(?:[ -](?:id|identity|identification|card|payer|number|no\.?|nr\.?))+|passport|personnummer|identifikationsnummer|ausweis(?:nummer)?|steuer-?id|"
    r"steuer(?:identifikations)?nummer|sozialversicherungsnummer|sécurité sociale|dni|nie|nif|codice fiscale|bsn|burgerservicenummer|pesel|cpf|hetu)"
    r"[^\d\n.!?]{0,30}?(?P<number>\b(?!\d{4}-\d\d-\d\d\b)[A-Z]{0,6}[ ]?\d(?:[ \-./]?[0-9A-Z]){6,18}(?![0-9a-z]))"
)  # fmt: skip

# Telephones that are called a number only, and those that people are to be called at.
_PHONE = re.compile(
    r"\b(?i:(?:my|his|her|their|the|our|your|new|old|same)(?: \w+)? (?:number|no\.|nr\.)(?: is|['’]s|:| was)?|(?:call|ring|reach|phone|text|dial|contact|try)(?:ed|ing)?(?: (?:me|us|him|her|them|you))?(?: \w+)?(?: (?:at|on|under|via))?|"
    r"(?:meine|unsere|seine|ihre|die) nummer(?: ist| lautet|:)?(?: die)?|erreichbar unter|unter|mon numéro(?: de \w+)?(?: est|:)?(?: le)?|au|mi número(?: de \w+)?(?: es|:)?(?: el)?|al|il mio numero(?: è|:)?(?: il)?|"
    r"meu número(?: é|:)?(?: o)?|mijn nummer(?: is|:)?|mój numer(?: to|:)?|mitt nummer(?: är|:)?)[ :]*"
    r"(?P<phone>\(?[+0-9](?:[ \-./()]{0,3}[0-9]){6,15}(?: ?(?:x|ext\.?) ?[0-9]{1,6})?)(?![\w])"
)  # fmt: skip

_LINE = re.compile(
    r"(?m:^|(?<=[;|({,] )|(?<=[.!?] ))[ \t>*•\-]*[\"'`*_]{0,3}(?P<label>[^\W\d_][\w' ./&\-]{0,38}?[\w)])[\"'`*_]{0,3}[ ]?[:=][ \t]*[*_]{0,2}(?P<value>[^\n|]+)"
)

# Dates of birth: a word, then a date within a few characters; or a date, then the word.
_MONTH = rf"[{UP}{LOW}]{{3,10}}\.?"
_DATE = (
    rf"(?:\d{{1,2}}[./\-]\d{{1,2}}[./\-]\d{{2,4}}|\d{{4}}[./\-]\d{{1,2}}[./\-]\d{{1,2}}|"
    rf"\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?[ \-](?:of |de |di )?{_MONTH},?[ \-](?:de |of )?\d{{4}}|{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})"
)
_BORN = re.compile(
    r"\b(?i:born|date\s+of\s+birth|birth ?date|birthday|d\.?o\.?b\.?|geboren|geb\.|geburtsdatum|geburtstag|née?|date\s+de\s+naissance|"
    r"nacid[oa]|nací|fecha\s+de\s+nacimiento|nat[oa]|data\s+di\s+nascita|geboortedatum|nascid[oa]|nasci|data\s+de\s+nascimento|urodzon[ya]|data\s+urodzenia|född|födelsedatum)"
    rf"[^\d\n]{{0,24}}?(?P<date>{_DATE})"
)  # fmt: skip
_BORN_AFTER = re.compile(
    rf"(?P<date>{_DATE})[^\w\n]{{0,4}}(?:(?:is|being|as|was) )?(?i:\(?(?:my |his |her |the )?(?:d\.?o\.?b|date of birth|birthday|birth date)\b)"
)

# Passwords: what follows the word and is no word itself.
_PASSWORD = re.compile(
    r"\b(?i:pass ?word|passwort|kennwort|pass ?code|pass ?phrase|passwd|pwd|pw|mot de passe|mdp|contraseña|clave|wachtwoord|senha|hasło|lösenord|"
    r"pin(?: code)?|cvv2?|cvc2?|security code|otp|one[- ]time code|api[- _]?key|access[- _]?key|secret[- _]?key|client[- _]?secret|secret|token|bearer|credential)"
    r"(?P<how>[\"'`]?[ \t]*(?:[:=]+|\b(?:is|was|lautet|ist|war|est|es|è|é|to|of|code|for [\w ]{1,20}(?: is|:))\b[ ]*:?|)[ \t]*)[\"'`„“«(]{0,2}(?P<secret>[^\s\"'`<>]{3,256})"
)

# Streets.
_CAPS = rf"[{UP}][{UP}{LOW}'’.\-]*"
_SUFFIX = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Av|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Close|Crescent|Cres|"
    r"Boulevard|Blvd|Parkway|Pkwy|Highway|Hwy|Row|Yard|Hill|Rise|Bank|Steps|Gardens?|Grove|Mews|Park|Walk|Circle|Cir|"
    r"Trail|Trl|Path|Alley|Green|View|Heights|Gate|Wharf|Quay|Bridge|Loop|Plaza|Pass|Ridge|Point|Island|Isle|Shore|Shores|Junction|Junctions|"
    r"Village|Villages|Viaduct|Turnpike|Track|Trace|Throughway|Summit|Stream|Stravenue|Station|Spring|Springs|Spur|Skyway|"
    r"Route|River|Rest|Ranch|Ramp|Radial|Prairie|Ports?|Plains?|Pines?|Pike|Passage|Parks|Overpass|Orchard|Oval|Neck|"
    r"Mountains?|Motorway|Mission|Mills?|Mill|Meadows?|Manors?|Mall|Lodge|Locks?|Lights?|Lakes?|Land|Landing|Knolls?|Keys?|"
    r"Inlet|Hollow|Hills|Haven|Harbors?|Harbour|Groves?|Glens?|Gateway|Gardens|Garden|Freeway|Forks?|Forges?|Forest|Fords?|"
    r"Flats?|Field|Fields|Ferry|Falls|Extensions?|Expressway|Estates?|Divide|Dam|Dale|Curve|Crossroad|Crossing|Crest|"
    r"Creek|Coves?|Courts?|Corners?|Course|Common|Club|Cliffs?|Causeway|Cape|Canyon|Camp|Bypass|Burgs?|Brooks?|"
    r"Branch|Bottom|Bluffs?|Bend|Beach|Bayou|Arcade|Annex|Well|Wells|Walks|Vista|Ville|Valleys?|Unions?|Underpass|Tunnel|Trafficway|Squares|Roads|Rue|Run|Shoals?|Mount)"
)  # USPS publication 28, appendix C1
_EXTRA = r"(?:Apt|Apartment|Suite|Ste|Flat|Unit|Floor|Room|Rm|Studio|Box|Piso|Puerta|Apartamento|Appartamento|Int|Esc|lok|m)\b\.?[ ]?#?\w{1,5}"
_STREETS = (
    rf"\d{{1,5}}[a-zA-Z]?(?:[-/]\d{{1,4}})?,?[ ](?:[NSEW]\.? )?(?:{_CAPS}[ ]){{1,4}}{_SUFFIX}s?\b\.?",
    rf"(?:{_EXTRA}[\n,]?[ \n]*)(?:\d{{1,5}}[a-zA-Z]?[ ])?(?:{_CAPS}[ ]){{1,3}}{_SUFFIX}s?\b\.?",
    rf"\b(?:{_CAPS}[ \-])?{_CAPS}(?:(?<=straße)|(?<=strasse)|(?<=str\.)|(?<=weg)|(?<=platz)|(?<=allee)|(?<=gasse)|(?<=ring)|(?<=damm)|(?<=ufer)|"
    r"(?<=straat)|(?<=laan)|(?<=plein)|(?<=gracht)|(?<=kade)|(?<=dijk)|(?<=singel)|(?<=steeg)|(?<=dreef)|(?<=pad)|(?<=hof)|(?<=baan)|"
    r"(?<=gatan)|(?<=vägen)|(?<=gränd)|(?<=torget)|(?<=stigen)|(?<=gata)|(?<=katu)|(?<=kuja)|(?<=tie)|(?<=-Straße)|(?<=-Strasse)|(?<=-Weg)|(?<=-Platz)|(?<=-Allee)|(?<=-Gasse)|(?<=-Ring))[ ]\d{1,4}[ ]?[a-zA-Z]?(?:[-/]\d{1,4})?\b",
    rf"\b(?:{_CAPS}[ ]){{1,2}}(?:Straße|Strasse|Str\.|Weg|Platz|Allee|Gasse|Ring)[ ]\d{{1,4}}[ ]?[a-zA-Z]?(?:[-/]\d{{1,4}})?\b",
    rf"(?:\b\d{{1,4}}(?: ?(?:bis|ter))?,? )?\b(?i:rue|avenue|boulevard|impasse|place|chemin|allée|route|quai|cours|passage|square)[ ](?:(?:de|du|des|la|le|les|d['’]|l['’]|of|the)[ ]?){{0,3}}(?:{_CAPS}[ ]?){{1,4}}(?:,? ?\d{{1,4}}\b)?",
    rf"\b(?:Calle|C/|C\.|Avenida|Avda\.?|Av\.|Plaza|Paseo|Camino|Carrer|Ronda|Vía|Via|Viale|Piazza|Corso|Largo|Vicolo|Strada|Borgo|Stretto|Contrada|Incrocio|Canale|Rotonda|Cuesta|Alameda|Callejón|Cañada|Glorieta|Pasadizo|Pasaje|Rambla|Urbanización|Acceso|Rua|Travessa|Praça|Estrada|Rodovia|Viela|Vila|Recanto|Setor|Sítio|Vale|Via|Parque|Passarela|Quadra|Residencial|Fazenda|Feira|Favela|Esplanada|Distrito|Conjunto|Condomínio|Colônia|Chácara|Campo|Aeroporto|Área|Jardim|Ladeira|Lagoa|Lago|Loteamento|Morro|Núcleo|Trecho|Trevo|Viaduto|ul\.|ulica|al\.|aleja|plac|pl\.|os\.)[ ](?:(?:de|del|della|di|da|do|das|dos|la|el|los|las)[ ]){{0,3}}(?:{_CAPS}[ ](?:(?:de|da|do|das|dos|y|e)[ ])?){{0,4}}{_CAPS}(?:,?[ ]?(?:(?:nº|n\.|n°|no\.)[ ]?)?\d{{1,4}}[a-zA-Z]?(?:[/-]\d{{1,4}})?\b|(?=[,\n][^;:!?]{{0,60}}\b\d{{5}}-?\d{{3}}\b))",
    rf"\b(?:PSC|Unit|CMR)[ ]\d{{3,5}},?[ ]Box[ ]\d{{1,5}}|\bUS(?:NS|NV|CGC|S)[ ]{_CAPS}(?=[\n,]+[ ]?[AFD]PO\b)|\bP\.?O\.?[ ]?Box[ ]\d{{1,6}}",
)
_POSTCODE = r"(?:[A-Z]{1,2}\d[A-Z\d]?[ ]?\d[A-Z]{2}|\d{4}[ ]?[A-Z]{2}|\d{8}|\d{5}(?:-\d{3,4})?|\d{2}-\d{3}|\d{3}[ ]\d{2}|\d{4}|[A-Z]\d[A-Z][ ]?\d[A-Z]\d)"
_TOWN = rf"(?:['’][st][- ])?(?:(?:de|da|das|do|dos|del|la)[ ])?{_CAPS}(?:(?:[ ]|['’])(?:(?:am|an der|de|del|della|di|do|da|dos|den|la|le|les|sur|sous|en|im|in|bei|upon|nell['’]|lez|y|e|el|los|las|aan de|op)[ ])?['’]?{_CAPS}|[ ]\dª){{0,4}}"
# What follows a street: units, postcodes, towns, and abbreviated provinces, with commas or line breaks between.
_TAIL = rf"(?:[ ]?(?:,|\n|[ ][-/])[ \n]*(?:{_EXTRA}|{_POSTCODE}(?:,?[ ]{_TOWN})?|{_TOWN}(?:,?[ ]{_POSTCODE}(?:[ ]{_TOWN})?|,?[ ][A-Z]{{2}}[ ]\d{{5}}(?:-\d{{4}})?)?|[AFD]PO[ ]A[AEP][ ]\d{{5}})(?:[ ]?\([A-Z]{{2}}\)|[ ]?/[ ]?[A-Z]{{2}})?)"
_ADDRESS = re.compile(
    rf"(?:(?:{_EXTRA})[,\n ]+)?(?:{'|'.join(f'(?:{street})' for street in _STREETS)})(?:[ ]{_EXTRA}[ ]?)?{_TAIL}{{0,5}}"
)
_UK_POSTCODE = re.compile(r"(?<![\w-])[A-Z]{1,2}[0-9][A-Z0-9]? [0-9][A-Z]{2}(?![\w-])")
_ZIP = re.compile(
    r"\b(?i:zip(?: ?code)?|post ?code|postal code|plz|code postal|código postal|cap|postleitzahl)(?:[ ](?:is|ist|est|es|was)|[:=])?[ ]*(?P<zip>[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{4,5}(?:-\d{3,4})?(?: ?[A-Z]{2})?)\b"
)
_LIVES = re.compile(
    r"\b(?i:(?:i|we) (?:now )?(?:live|moved|am living|are living)(?: in| at| to)?|live[sd]? at|(?:my|our|new|home|delivery|shipping|billing|postal|full|the) address(?: is|:| has changed to)?|"
    r"(?:deliver|ship|send|post|sent|shipped|delivered|forward|bring|return|returned|redirect)(?:ed)?(?: it| them| this| that| everything| the \w+)? to|(?:ours|mine|home|house|flat|moved) is|moved to|wohne(?:n)?(?: in)?|anschrift(?: ist| lautet|:)?|adresse(?: ist| lautet| est|:)?|"
    r"j['’]habite(?: au)?|vivo en|dirección(?: es|:)?|abito in|indirizzo(?: è|:)?|woon op|adres(?: is|:)?|moro na|endereço(?: é|:)?)[ :,\n]+(?P<address>(?=[0-9A-ZÀ-Ý'\"])(?=[^\n.;!?]{0,60}\d)[^;!?]{8,160}?)(?=\.(?:[ \n]|$)|[;!?]|,? (?:and|but|so|until|before|from|please|instead|not|is|which|where|und|et|y|e|bitte) |\n\n|\n[^\n]{60}|$|, (?:please|thank))"
)  # fmt: skip


def find(text: str) -> Iterator[Found]:
    """May overlap; the caller joins what does."""
    yield from _names(text)
    yield from _lines(text)
    if any(char.isdigit() for char in text):
        for match in (*_BORN.finditer(text), *_BORN_AFTER.finditer(text)):
            yield "birth_date", *match.span("date")
        for match in _IDENTITY.finditer(text):
            yield "national_id", *match.span("number")
        for match in _PHONE.finditer(text):
            yield "phone", *match.span("phone")
        for match in _ADDRESS.finditer(text):
            yield "address", match.start(), _trimmed(text, *match.span())
        for match in _UK_POSTCODE.finditer(text):
            yield "address", *match.span()
        for match in _ZIP.finditer(text):
            yield "address", *match.span("zip")
        for match in _LIVES.finditer(text):
            if _is_address(match["address"]):
                yield "address", match.start("address"), _trimmed(text, *match.span("address"))
    for match in _PASSWORD.finditer(text):
        if (end := _secret_end(match)) > match.start("secret"):
            yield "secret", match.start("secret"), end


def _names(text: str) -> Iterator[Found]:
    for shape, words in (
        (_NAME_ONE, 1), (_NAME_TWO, 2), (_NAME_GREETED, 1), (_NAME_SIGNED, 1), (_NAME_TITLED, 1), (_NAME_LAST_LINE, 1),
        (_NAME_DASHED, 1), (_NAME_HERE, 1), (_NAME_BEFORE, 2),
        (_NAME_ADDRESSED, 2),
        (_NAME_INITIAL, 2),
    ):  # fmt: skip
        for match in shape.finditer(text):
            start, end = name_in(text, *match.span("name"))
            if len(_WORD.findall(text[start:end])) >= words:
                yield "name", start, end
    yield from _given(text)
    for match in _LOWER_NAME.finditer(text):
        if not NOT_NAMES & set(match["name"].split()):
            yield "name", *match.span("name")


_INITIALS = re.compile(rf"[{UP}]\.")
_LEADING_TITLE = re.compile(rf"(?:{TITLES})\b\.?[ ]?")


def name_in(text: str, start: int, end: int) -> tuple[int, int]:
    """Without the title before, and without the words that are no names from the first of them on."""
    while title := _LEADING_TITLE.match(text, start, end):
        start = title.end()
    last = start
    for word in _WORD.finditer(text, start, end):
        if word[0][0].isupper() and word[0].rstrip(".").lower() in NOT_NAMES and not _INITIALS.fullmatch(word[0]):
            break
        last = word.end()
    while (
        last > start and text[last - 1] in " .,'’-" and not (text[last - 1] == "." and text[last - 3 : last - 2] in " ")
    ):
        last -= 1
    return start, last


_CAPITALISED = re.compile(rf"(?<![\w@./<#-])[{UP}][{LOW}]{{2,}}(?![\w@]|\.\w)")
_FURTHER = re.compile(rf"(?:[ \u00a0](?:(?:{_PARTICLE})[ \u00a0]){{0,3}}(?:{_INITIAL}|{_CAP})){{1,3}}")
_LOWER_SIGNED = re.compile(
    r"(?:\n[ \t>]*[–—-]{0,2}|[ ][–—-]{1,2}|,)[ \t]*(?P<name>[^\W\d_A-Z]{3,15})(?: [^\W\d_A-Z]{2,20})?[ \t.!]*(?=\n\n|\n[^\n]*[>:]|\Z)"
)
_BEGINS = re.compile(r"(?:^|[.!?:>\n\"„“(•*-])[ \t]*$")


def _given(text: str) -> Iterator[Found]:
    """Given names that nothing points at: with another name behind them anywhere, alone inside of a sentence, where
    English has capitals for names only. In lower case at the end of a message."""
    for match in _CAPITALISED.finditer(text):
        if match[0].lower() not in GIVEN_NAMES:
            continue
        start, end = match.span()
        if further := _FURTHER.match(text, end):
            _, last = name_in(text, start, further.end())
            if last > end:
                yield "name", start, last
                continue
        if not _BEGINS.search(text, max(0, start - 12), start):
            yield "name", start, end
    for match in _LOWER_SIGNED.finditer(text):
        if match["name"] in GIVEN_NAMES:
            yield "name", *match.span("name")


def looks_like_name(value: str, words: int = 2) -> bool:
    """Of a whole value: capitalised words, none of which is a common one."""
    value = value.strip()
    if re.fullmatch(NAME, value) is None or name_in(value, 0, len(value))[1] < len(value.rstrip(".")):
        return False
    return words <= len(_WORD.findall(value)) <= 5


def _lines(text: str) -> Iterator[Found]:
    """`Label: value`. What follows is looked at by the kind that the label says."""
    for match in _LINE.finditer(text):
        kind = kind_of(match["label"])
        if kind is None:
            continue
        start, value = match.start("value"), match["value"]
        if kind in ("name", "maybe_name"):
            if name := re.match(NAME, value):
                begin, end = name_in(text, start, start + name.end())
                if len(_WORD.findall(text[begin:end])) >= (1 if kind == "name" else 2):
                    yield "name", begin, end
        elif kind == "address":
            size = len(re.split(r"[;!?]|\.(?:\s|$)", value)[0].rstrip(" *_\"',"))
            if _is_address(value[:size]):
                yield "address", start, _trimmed(text, start, start + size)
        elif kind in ("phone", "card", "iban", "national_id"):
            if number := re.match(
                r"[\"'(+]{0,2}(?:[A-Z]{2})?[A-Z0-9]*\d(?:[ \-./()]{0,3}[0-9A-Z]){4,40}(?![^\W\d_])", value
            ):
                yield kind, start, start + number.end()
        elif kind == "birth_date" and (date := re.match(rf"[\"' ]*({_DATE})", value)):
            yield kind, start + date.start(1), start + date.end(1)


def _is_address(value: str) -> bool:
    words = value.split()
    return (
        any(map(str.isdigit, value))
        and len(words) >= 2
        and sum(word[:1].isupper() for word in words) >= 1
        and "@" not in value
    )


def _trimmed(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1] in " ,.\n\t-/":
        end -= 1
    return end


_ASSIGNED = re.compile(r"[:=]|\b(?:is|was|lautet|ist|war|est|es|è|é)\b", re.IGNORECASE)


def _secret_end(match: re.Match[str]) -> int:
    """Where the password ends; its start if it is none. After `password` alone it must look like no word; what is
    assigned may be a word with a capital or a digit within, or short digits (`PIN: 4711`)."""
    value = match["secret"]
    end = match.end("secret")
    while (
        value
        and value[-1] in ".,;:!?)]}”’"
        and (len(value) < 6 or value[-1] in ".,;”’" or (value[-1] == ")" and "(" not in value))
    ):
        value, end = value[:-1], end - 1
    digits, letters = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    marks = any(not char.isalnum() and char not in "-'’./_,:" for char in value)
    inner = any(map(str.isupper, value[1:])) and any(map(str.islower, value))
    if len(value) < 3 or value.startswith(("http", "<", "{", "[", "/")):
        return match.start("secret")
    drawn = (digits and letters) or marks or (inner and len(value) >= 6)
    if _ASSIGNED.search(match["how"]):
        drawn = drawn or (digits and len(value) <= 12 and not re.fullmatch(r"\d{1,2}", value))
    elif not (drawn and len(value) >= 6 and (digits or marks)):
        return match.start("secret")
    return end if drawn else match.start("secret")
