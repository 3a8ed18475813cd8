"""Support messages that cannot be answered as they stand, of some that can: a task for `understudy teachset unsettle`.

    tasks:
      - task: examples/support/unsettle.py:unsettle

Only of generated examples: their family says what the message is about, so the message can be read again in the terms
of policy.py, with the context read back from the prompt. Where that comes to another answer than the example's, nothing
is made of it. Then one thing changes, and policy.py and replies.py say what is right now; what is kept asks for
something.

    identity   the customer is not verified any more
    order_id   the shop finds no order of this customer; or the message names one that has no such thing (contradiction)
    photo      no picture came with the message
    problem    the message says only that something is wrong
    variant    the message does not say which size or colour
    address    the message does not say where to
"""

import re
import sys
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from random import Random

import msgspec

if __package__ in (None, ""):  # loaded as a file: the repository is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.support.catalogue import BY_SKU
from examples.support.families import FAMILIES
from examples.support.families.family import Family
from examples.support.families.foreign import NOUNS
from examples.support.families.foreign import PROBLEMS as FOREIGN_PROBLEMS
from examples.support.generate import PROBLEMS
from examples.support.policy import Reading, Said, decide
from examples.support.record import Answer, answer
from examples.support.replies import reply
from examples.support.world import TODAY, Context, Facts, Line, Order, State, line, order, render
from student_train.teachset.example import Example
from student_train.teachset.unsettle import Unsettled

_FAMILIES = {family.id: family for family in FAMILIES}
_BETWEEN = "\n\nMessage:\n"
_NUMBER = re.compile(r"(?<!\d)\d{6}(?!\d)")
_ADDRESS = re.compile(r"<ADDRESS_\d+>")
_VAGUE = {
    "en": {"problem": "something is wrong with it", "variant": "another one", "address": "my new address"},
    "de": {"problem": "etwas stimmt damit nicht", "variant": "etwas anderes", "address": "meine neue Adresse"},
    "fr": {"problem": "quelque chose ne va pas", "variant": "un autre", "address": "ma nouvelle adresse"},
    "es": {"problem": "algo va mal", "variant": "otro", "address": "mi nueva dirección"},
}
"""What stands in the message in place of what was said there."""


class _Scene(msgspec.Struct, frozen=True):
    context: Context
    message: str
    reading: Reading


def unsettle(example: Example, random: Random) -> Iterator[Unsettled]:
    """Who is asking and which order can be dropped nearly everywhere; so only where nothing else can."""
    scene = read(example)
    if scene is None or decide(scene.reading, scene.context).action != "answer":
        return
    ways = list(_ways(scene, example, random))
    rare = [way for way in ways if way.what not in ("identity", "order_id") or way.kind == "contradiction"]
    yield from rare or ways


def _ways(scene: _Scene, example: Example, random: Random) -> Iterator[Unsettled]:
    for what, kind, changed in _changes(scene, example, random):
        decision = decide(changed.reading, changed.context)
        if decision.action != "ask" or what not in decision.missing:
            continue
        try:
            words = reply(decision, changed.reading, changed.context, random)
        except KeyError:  # the language has no words for that rule
            continue
        user = {**example.messages[-1], "content": render(changed.context) + _BETWEEN + changed.message}
        gold = msgspec.json.encode(answer(decision, words)).decode()
        yield Unsettled((*example.messages[:-1], user), gold, kind, what)


def read(example: Example) -> _Scene | None:
    """What the generator knew of an example, from what is left of it: its family and the text. None if that does not
    lead to its answer."""
    family = _FAMILIES.get(example.family)
    content = example.messages[-1].get("content") if example.messages else None
    if family is None or not isinstance(content, str) or example.gold is None:
        return None
    shown, between, message = content.partition(_BETWEEN)
    context = read_context(shown)
    if not between or context is None or render(context) != shown:
        return None
    try:
        gold = msgspec.json.decode(example.gold, type=Answer)
    except msgspec.DecodeError:
        return None
    scene = _Scene(context, message, _reading(family, context, message, gold))
    decision = decide(scene.reading, context)
    return scene if answer(decision, gold.reply) == gold else None


def _reading(family: Family, context: Context, message: str, gold: Answer) -> Reading:
    low = message.casefold()
    says: list[Said] = list(family.says)
    if _problem(family.lang, gold, low):
        says.append("problem")
    if _variant(gold, low):
        says.append("variant")
    if _ADDRESS.search(message):
        says.append("address")
    numbers = [f"LF-{digits}" for digits in _NUMBER.findall(message)]
    named = gold.order_id if gold.order_id in numbers else next(iter(numbers), None)
    known = gold.items or (tuple(sku for order in context.orders for sku in order.skus) if gold.action == "ask" else ())
    items = tuple(sku for sku in known if _noun(sku, family.lang) in low)
    return Reading(family.topics, named, items, tuple(dict.fromkeys(says)), family.lang)


def _changes(scene: _Scene, example: Example, random: Random) -> Iterator[tuple[str, str, _Scene]]:
    """What is missing then, how that came about, and the scene."""
    context, message, reading = scene.context, scene.message, scene.reading
    strange = _context(context, orders=())
    nobody = context if reading.order is not None else strange  # the shop finds orders by number or by customer
    yield "identity", "slot_dropped", _scene(_context(nobody, verified=False), message, reading)
    yield "order_id", "slot_dropped", _scene(strange, message, reading)
    if context.attachments:
        yield "photo", "slot_dropped", _Scene(_context(context, attachments=0), message, reading)
    gold = msgspec.json.decode(example.gold or "", type=Answer)
    strangers = [
        other.id for other in context.orders if other.id != reading.order and not set(reading.items) & set(other.skus)
    ]
    if reading.order is not None and reading.items and strangers:
        number = random.choice(strangers)
        other = message.replace(reading.order[3:], number[3:])
        changed = msgspec.structs.replace(reading, order=number)
        yield "order_id", "contradiction", _Scene(context, other, changed)
    for what, said in _told(scene, gold):
        vague = _replaced(message, said, _VAGUE[reading.lang][what])
        says = tuple(one for one in reading.says if one != what)
        yield what, "slot_dropped", _Scene(context, vague, msgspec.structs.replace(reading, says=says))


def _told(scene: _Scene, gold: Answer) -> Iterator[tuple[str, str]]:
    """The words by which the message tells the problem, the variant, the address."""
    low, reading = scene.message.casefold(), scene.reading
    for what, said in (("problem", _problem(reading.lang, gold, low)), ("variant", _variant(gold, low))):
        if said:
            yield what, said
    found = _ADDRESS.search(scene.message)
    if found:
        yield "address", found[0]


def _problem(lang: str, gold: Answer, low: str) -> str:
    kinds = [BY_SKU[sku].kind for sku in gold.items if sku in BY_SKU]
    known = FOREIGN_PROBLEMS.get(lang) or [text for kind in kinds for text in PROBLEMS[kind]]
    return next((text for text in known if text.casefold() in low), "")


def _variant(gold: Answer, low: str) -> str:
    known = [variant for sku in gold.items if sku in BY_SKU for variant in BY_SKU[sku].variants]
    return next((text for text in known if re.search(rf"\b{re.escape(text.casefold())}\b", low)), "")


def _replaced(message: str, said: str, vague: str) -> str:
    return re.sub(re.escape(said), vague, message, flags=re.IGNORECASE)


def _noun(sku: str, lang: str) -> str:
    product = BY_SKU.get(sku)
    if product is None:
        return "\0"
    return (product.noun if lang == "en" else NOUNS[lang].get(sku, "\0")).casefold()


def _scene(context: Context, message: str, reading: Reading) -> _Scene:
    """Items are of orders: without these the message means none."""
    return _Scene(context, message, reading if context.orders else msgspec.structs.replace(reading, items=()))


def _context(context: Context, **changed: object) -> Context:
    return msgspec.structs.replace(context, **changed)


# Reading back what `world.render` writes.

_HEAD = re.compile(r"Today: .*\. Verified: (yes|no)\. Attachments: (none|\d+)\.")
_ORDER = re.compile(r"Order (\S+): (.*)")
_LINE = re.compile(r"- (\S+): .*, (\d+) x \d+ EUR(?:, no returns)?(?:, warranty until .*)?")
_PRODUCT = re.compile(r"Product (\S+): (.*?)\. (.*)")
_STATES: tuple[tuple[str, State], ...] = (
    (r"placed, not packed yet, due (\d+ \w+ \d+) .*", "placed"),
    (r"packed, waits for the carrier, due (\d+ \w+ \d+) .*", "packed"),
    (r"shipped \d+ \w+ \d+, due (\d+ \w+ \d+) .*", "shipped"),
    (r"return arrived (\d+ \w+ \d+) .*, not refunded yet", "returned"),
    (r"delivered (\d+ \w+ \d+) .*", "delivered"),
    (r"cancelled (\d+ \w+ \d+) .*", "cancelled"),
    (r"refunded (\d+ \w+ \d+) .*", "refunded"),
)


def read_context(shown: str) -> Context | None:
    """None for what `render` did not write."""
    head, *rest = shown.split("\n")
    top = _HEAD.fullmatch(head)
    if top is None:
        return None
    orders: list[Order] = []
    products: list[Facts] = []
    for text in rest:
        if found := _ORDER.fullmatch(text):
            made = _order(found[1], found[2])
            if made is None:
                return None
            orders.append(made)
        elif (found := _LINE.fullmatch(text)) and orders and found[1] in BY_SKU:
            orders[-1] = _with(orders[-1], line(found[1], int(found[2])))
        elif found := _PRODUCT.fullmatch(text):
            products.append(Facts(found[1], found[2], found[3]))
        elif text != "Orders: none found":
            return None
    attached = 0 if top[2] == "none" else int(top[2])
    return Context(top[1] == "yes", attached, tuple(orders), tuple(products))


def _order(number: str, state: str) -> Order | None:
    for pattern, name in _STATES:
        if found := re.fullmatch(pattern, state):
            day = _day(found[1])
            coming = name in ("placed", "packed", "shipped")
            return order(number, name, (day - TODAY).days if coming else (TODAY - day).days, ())
    return None


def _day(text: str) -> date:
    return datetime.strptime(text, "%d %b %Y").date()  # noqa: DTZ007 - a day


def _with(made: Order, more: Line) -> Order:
    return msgspec.structs.replace(made, lines=(*made.lines, more))
