"""Whether an example is right: its answer against the schema, the policy and the voice, its words against the context.

    python examples/support/check.py FILE.jsonl ...

prints what is wrong, a line each, then how often each label is there, and fails if anything is wrong. `problems` is
what the tests call, `grade` what an evaluation does with a model's answer.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jsonschema_rs
import msgspec
import yaml
from msgspec import Struct

if __package__ in (None, ""):  # run as a file: the repository is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.support.policy import decide
from examples.support.record import HERE, Answer, Example, answer, read
from examples.support.world import MONTHS, Context, Order, day_in, warranty_end
from router_policies.checks import pii_find
from router_policies.checks.check import Answer as Judged
from router_policies.checks.check import Outcome, Request
from router_policies.checks.pack import Entry, read_pack

_NUMBER = re.compile(r"LF-\d{6}")
_SUM = re.compile(r"(\d+(?:\.\d\d)?) ?(?:EUR|€|euros?)")
_DAYS = re.compile(r"(\d+) (?:working )?(?:days?|Tagen|Werktagen|jours|días)")
_MONTH = "|".join(month for months in MONTHS.values() for month in months)
_DAY = re.compile(rf"\d{{1,2}}(?:\.| de)? (?:{_MONTH})\b")
_SORRY = re.compile(r"\b(?:sorry|tut uns leid|désolés|sentimos|apolog\w+)\b", re.IGNORECASE)
_FIRST_PERSON = {"en": r"\bI\b|\bmy\b", "de": r"\bich\b", "fr": r"\bje\b|\bj'", "es": r"\byo\b"}

_PERSON = {"en": "colleague", "de": "Kolleg", "fr": "collègue", "es": "compañer"}
_WITHIN = {"en": "one working day", "de": "eines Werktags", "fr": "un jour ouvré", "es": "un día laborable"}
_NEXT = {
    "en": r"\b(?:next|other|both|second|then|separate)\b",
    "de": r"ander|danach|beide|zweite",
    "fr": r"ensuite|autre|deux",
    "es": r"después|otr[ao]|dos\b",
}
_SLOTS = {
    "en": {
        "identity": r"log in|address of (?:your|the) account",
        "order_id": r"order number|which order|number of the order",
        "item": r"\bitem|product|\bwhich\b|\bwhat\b",
        "problem": r"problem|wrong|happen|\bwhat\b",
        "photo": r"photo|picture",
        "variant": r"size|colour|\bwhich one",
        "address": r"address",
    },
    "de": {
        "identity": r"anmelden|einloggen|E-Mail-Adresse",
        "order_id": r"Bestellnummer|welche Bestellung",
        "item": r"Artikel|Produkt|welche",
        "problem": r"Problem|was genau|Worum|worum",
        "photo": r"Foto|Bild",
        "variant": r"Größe|Farbe",
        "address": r"Adresse|Anschrift",
    },
    "fr": {
        "identity": r"connecter|adresse e-mail",
        "order_id": r"numéro de (?:la )?commande|quelle commande",
        "item": r"article|produit|quel",
        "problem": r"problème|se passe|quoi",
        "photo": r"photo",
        "variant": r"taille|couleur",
        "address": r"adresse",
    },
    "es": {
        "identity": r"sesión|correo",
        "order_id": r"número de(?:l)? pedido|qué pedido",
        "item": r"artículo|producto|qué",
        "problem": r"problema|qué",
        "photo": r"foto",
        "variant": r"talla|color",
        "address": r"dirección",
    },
}
_STOP = {
    "en": r"stop using",
    "de": r"nicht (?:mehr|weiter)",
    "fr": r"n'utilisez plus|cessez",
    "es": r"no use|deje de usar",
}
_NO = {
    "en": r"\b(?:cannot|not|nothing|no longer|no|only|too late|over)\b",
    "de": r"nicht|keine?|nur|zu spät",
    "fr": r"\bne\b|\bn'|passé|trop tard|rien",
    "es": r"\bno\b|solo|tarde|ni\b",
}
_REFUSALS = {"5.2", "5.3", "5.4", "6.3", "7.2", "7.3", "7.6", "7.8", "8.2", "8.3", "8.5", "12.2", "12.3", "13.5"}
_FREE_DAYS = {2, 3, 5, 7, 10, 30}  # the periods of the policy; sums of it:
_FREE_SUMS = {"4.90", "60", "400"}


def problems(example: Example) -> list[str]:
    """One line for each; none for a right example."""
    found = [*_fits_schema(example), *_follows_policy(example), *_reading(example)]
    return found + reply_problems(example, example.answer)


def reply_problems(example: Example, given: Answer) -> list[str]:
    """The same for the reply of any answer to this message, such as a model's: how it sounds and what it says."""
    return [*_voice(example, given), *_words(example, given), *_facts(example, given)]


class Grade(Struct, frozen=True):
    """Of a model's answer. `fields`: whether each is exactly right, save for the reply, of which there are many right
    ones: `reply` is whether `reply_problems` finds nothing. `exact`: all fields at once."""

    valid: bool
    fields: dict[str, bool]
    reply: bool

    @property
    def exact(self) -> bool:
        return self.valid and all(self.fields.values())


def grade(example: Example, text: str) -> Grade:
    """`text` is what the model wrote, JSON or not."""
    fields = [field for field in Answer.__struct_fields__ if field != "reply"]
    try:
        found = msgspec.json.decode(text)
        if not _schema().is_valid(found):
            raise msgspec.ValidationError("it does not fit schema.json")
        given = msgspec.convert(found, Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Grade(False, dict.fromkeys(fields, False), False)
    right = {field: getattr(given, field) == getattr(example.answer, field) for field in fields}
    return Grade(True, right, not reply_problems(example, given))


def _fits_schema(example: Example) -> Iterator[str]:
    for error in _schema().iter_errors(msgspec.to_builtins(example.answer)):
        yield f"schema: {error.message}"


def _follows_policy(example: Example) -> Iterator[str]:
    decision = decide(example.reading, example.context)
    right = answer(decision, example.answer.reply)
    for field in Answer.__struct_fields__:
        if getattr(right, field) != getattr(example.answer, field):
            yield (
                f"{field}: the policy ({', '.join(decision.rules)}) has {getattr(right, field)!r}, "
                f"the answer {getattr(example.answer, field)!r}"
            )
    if decision.rules != example.rules:
        yield f"rules: the policy has {decision.rules}, the example {example.rules}"


def _reading(example: Example) -> Iterator[str]:
    """What can be tested of it: the number and the things it found are in the message and in the context."""
    reading, context = example.reading, example.context
    digits = re.sub(r"\D", "", example.message)
    if reading.order is not None and reading.order[3:] not in digits:
        yield f"reading: {reading.order} is not in the message"
    known = {sku for order in context.orders for sku in order.skus} | {product.sku for product in context.products}
    if unknown := set(reading.items) - known:
        yield f"reading: {', '.join(sorted(unknown))} is not in the context"
    if len({order.id for order in context.orders}) < len(context.orders):
        yield "context: two orders of one number"
    for planted in example.pii:
        if planted.value not in example.message:
            yield f"pii: {planted.kind} {planted.value!r} is not in the message"


def _voice(example: Example, given: Answer) -> Iterator[str]:
    reply, lang = given.reply, example.reading.lang
    for entry in _pack():
        finding = entry.check.judge(Request("/v1/chat/completions"), Judged(reply), None)
        if finding.outcome is Outcome.FAIL:
            yield f"voice: {finding.evidence}"
    if re.search(_FIRST_PERSON[lang], reply, re.IGNORECASE if lang != "en" else 0):
        yield "voice: says I; the shop is we"
    if len(re.findall(r"[.?](?=\s|$)", reply)) > 5:
        yield "voice: more than five sentences"
    if len(_SORRY.findall(reply)) > 1:
        yield "voice: is sorry more than once"
    if pii_find.find(reply):
        yield "voice: personal data in the reply"
    for planted in example.pii:
        if planted.kind != "name" and planted.value.casefold() in reply.casefold():
            yield f"voice: repeats the {planted.kind}"


def _words(example: Example, given: Answer) -> Iterator[str]:
    """What the reply must say for its action, and what it must not."""
    reply, lang = given.reply, example.reading.lang
    slots, rules = _SLOTS[lang], decide(example.reading, example.context).rules
    if (_PERSON[lang] in reply) is not (given.action == "handoff"):
        yield f"reply: a {_PERSON[lang]} is named in a handoff, and only there"
    if given.action == "handoff" and not {"3.1", "3.2"} & set(rules) and _WITHIN[lang] not in reply:
        yield f"reply: a handoff says {_WITHIN[lang]!r}"
    if "3.1" in rules and not re.search(_STOP[lang], reply, re.IGNORECASE):
        yield "reply: of danger, it says to stop using it"
    for slot in given.missing:
        if not re.search(slots[slot], reply, re.IGNORECASE):
            yield f"reply: does not ask for {slot}"
    if given.action == "ask":
        for slot in {"photo", "variant", "identity"} - set(given.missing):
            if re.search(slots[slot], reply, re.IGNORECASE):
                yield f"reply: asks for {slot}, which is not missing"
    if rules[0] in _REFUSALS and given.action == "answer" and not re.search(_NO[lang], reply, re.IGNORECASE):
        yield f"reply: {rules[0]} refuses, the reply does not say so"
    if len(example.reading.topics) > 1 and given.action != "ask" and not re.search(_NEXT[lang], reply, re.IGNORECASE):
        yield "reply: says nothing of the other request"


def _facts(example: Example, given: Answer) -> Iterator[str]:
    """Numbers, days and sums of the reply are those of the context or the policy."""
    reply, context = given.reply, example.context
    order = next((order for order in context.orders if order.id == given.order_id), None)
    named = set(_NUMBER.findall(reply))
    expected = {given.order_id} if given.order_id and context.verified else set()
    if named != expected:
        yield f"reply: names order {sorted(named) or 'none'}, expected {sorted(expected) or 'none'}"
    orders = (order,) if order else context.orders
    days = _days(orders, example.reading.lang) if context.verified else set()
    for day in _DAY.findall(reply):
        if day not in days and not any(day in product.facts for product in context.products):
            yield f"reply: {day} is no day of the order"
    for count in _DAYS.findall(reply):
        if int(count) not in _FREE_DAYS and count not in " ".join(product.facts for product in context.products):
            yield f"reply: {count} days is no period of the policy"
    for amount in _SUM.findall(reply):
        if amount not in _FREE_SUMS | _sums(context):
            yield f"reply: {amount} EUR is neither in the context nor in the policy"


def _days(orders: tuple[Order, ...], lang: str) -> set[str]:
    ends = (warranty_end(order, line) for order in orders for line in order.lines)
    days = {*ends, *(order.due for order in orders), *(order.since for order in orders)}
    return {day_in(lang, day) for day in days} | {day_in("en", day) for day in days}


def _sums(context: Context) -> set[str]:
    return {str(line.price) for order in context.orders for line in order.lines}


@cache
def _schema() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(msgspec.json.decode((HERE / "schema.json").read_bytes()))


@cache
def _pack() -> tuple[Entry, ...]:
    """The entries that look at how a text sounds; those about personal data are covered by `pii_find`."""
    pack = read_pack(yaml.safe_load((HERE / "pack.yaml").read_text()))
    return tuple(entry for entry in pack.entries if entry.name != "pii")


def main() -> int:
    wrong = 0
    for path in map(Path, sys.argv[1:]):
        examples = read(path)
        for example in examples:
            for problem in problems(example):
                print(f"{path.name} {example.id}: {problem}")
                wrong += 1
        print(f"{path.name}: {len(examples)} examples")
        for field in ("intent", "action", "priority"):
            counts = Counter(getattr(example.answer, field) for example in examples)
            print(f"  {field}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
