"""What stands before a number: the words that say what it is.

Most numbers of nine to twelve digits could be a telephone, an identity or an order, and only the words before them
tell: `Tel: 5272868387`, `order 5272868387`. In a table the word is the column's heading, which is looked up too.
"""

import re
from enum import Enum

_BEFORE = 40  # characters: "Social Security number (last filed): " fits, the sentence before mostly does not
_HEADING = 1000  # characters of a heading line that are looked at


class Cue(Enum):
    """What the number is said to be. `ADDRESS`: an internet address. `WEAK` words: it numbers something."""

    PHONE = "phone"
    PERSON = "person"
    CARD = "card"
    VERSION = "version"
    ADDRESS = "address"
    OTHER = "other"
    WEAK = "weak"


_SAID = {
    Cue.PHONE: "phone telephone phones cellphone smartphone phonenumber tel tele telefon telefonnummer telefono "
    "teléfono téléphone telephonenumber telefone tél mobile mobil mobilnummer móvil movil celular cellulare cell handy "
    "handynummer rufnummer fax whatsapp hotline voicemail call dial ring sms text reach contact contacts appelez llame "
    "chiama anrufen bel ligue callback landline pager viber signal telegram 電話 電話番号 携帯",
    Cue.PERSON: "ssn security itin sin nino nif nie dni cpf bsn nhs pesel nir ahv avs hetu aadhaar aadhar uidai "
    "insurance personnummer burgerservicenummer sofinummer steuer steueridentifikationsnummer steuernummer "
    "identifikationsnummer idnr fiscale fiscal taxpayer tax national personal sécurité securite sociale henkilötunnus "
    "identity identification citizen identité identidad ausweis sozialversicherungsnummer versicherungsnummer medicare",
    Cue.CARD: "card cards creditcard cardnumber karte kreditkarte kartennummer carte tarjeta carta cartão cartao visa "
    "mastercard amex maestro discover pan cc debit credit",
    Cue.OTHER: "order orders ordernumber bestellung bestellnummer auftrag commande pedido ordine invoice rechnung "
    "rechnungsnummer factura facture fattura account konto reference ref referenz ticket case tracking track parcel "
    "shipment serial part model commit batch epoch timestamp unix hash digest checksum item article "
    "artikel transaction total price amount population views bytes size sku ean upc gtin isbn issn imei oid po lot rev "
    "doi uid pid policy booking reservation confirmation request job session trace span code barcode customer",
    Cue.VERSION: "version versions release build rev revision firmware ver section chapter upgrade update",
    Cue.ADDRESS: "ip ipv host server address addr node gateway client subnet proxy dns peer ssh ping",
    Cue.WEAK: "id no nr",
}
_CUES = {word: kind for kind, words in _SAID.items() for word in words.split()}
_WORD = re.compile(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+")  # `phoneNumber` is two, `SSN` one


def cue(text: str, start: int) -> Cue | None:
    """What the nearest telling word before `start` says that the number there is."""
    line = max(text.rfind("\n", max(0, start - _BEFORE), start), start - _BEFORE, 0)
    before = text[line:start]
    if before.rstrip(" \"'").endswith(("|", "\t")) or before.endswith((",", ";", ',"', ';"')):
        return _nearest(_heading(text, start))  # what stands in other cells says nothing of this one
    return _nearest(before) or _nearest(_heading(text, start))


def _nearest(words: str) -> Cue | None:
    weak = None
    for word in reversed(_WORD.findall(words)):
        if (said := _CUES.get(word.lower())) is not None:
            if said is not Cue.WEAK:
                return said
            weak = Cue.OTHER
    return weak


def _heading(text: str, start: int) -> str:
    """The heading of the column that `start` is in, "" outside of tables."""
    line = text.rfind("\n", max(0, start - _HEADING), start) + 1
    if line == 0:
        return ""
    before = text[line:start]
    mark = next((mark for mark in "|\t;," if mark in before), None)
    if mark is None and before.strip():
        return ""
    top = text.rfind("\n\n", max(0, start - 20 * _HEADING), start)
    top = 0 if top < 0 else top + 2
    heading = text[top : top + _HEADING].partition("\n")[0]
    if mark is None:  # the first column
        mark = next((mark for mark in "|\t;," if mark in heading), "\n")
        return heading.partition(mark)[0] if mark in heading else ""
    column = before.count(mark)
    return heading.split(mark)[column] if heading.count(mark) >= column else ""
