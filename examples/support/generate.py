"""Messages to Larkfield's support with their correct answers, as many as wanted, the same for the same seed.

    python examples/support/generate.py --count 2000 --seed 1 --out train.jsonl
    python examples/support/generate.py --count 400 --seed 2 --families held-out --out dev.jsonl

Example number i depends on the seed and i alone: a longer file begins with the shorter one. No message is twice in a
file.
"""

# ruff: noqa: E501 - tables of sentences

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

if __package__ in (None, ""):  # run as a file: the repository is not on the path then
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from examples.support import noise, pii, scenes
from examples.support.catalogue import BY_SKU, PRODUCTS
from examples.support.families import FAMILIES, HELD_OUT
from examples.support.families.family import Family
from examples.support.families.foreign import PROBLEMS as FOREIGN_PROBLEMS
from examples.support.families.questions import KNOWN, UNKNOWN
from examples.support.policy import NEEDS_ORDER, Reading, Said, decide
from examples.support.record import Example, Planted, answer, write
from examples.support.replies import reply
from examples.support.world import Context, Line, Order, facts

PROBLEMS = {
    "electric": ("it does not switch on any more", "it turns itself off after a minute", "it shows no sign of life", "it flickers all the time",
                 "it no longer charges", "one of the buttons does nothing"),
    "gas": ("the lighter makes no spark", "the valve is stuck", "the flame goes out again and again", "one of its legs has snapped"),
    "textile": ("a seam has come apart", "there is a hole in it", "the colour rubs off", "the fabric has torn", "threads are coming loose"),
    "hard": ("it has a crack", "it is bent out of shape", "a piece has broken off", "something in it is loose", "the coating flakes off"),
    "paper": ("half of it is torn", "the print cannot be read"),
}  # fmt: skip
MISUSE = (
    "I dropped it down the stairs",
    "my son sat down on it",
    "it went through the dishwasher by mistake",
    "I washed it much too hot",
    "I took it apart to see how it works",
    "I left it too close to the camp fire",
    "the dog chewed on it",
    "I drove over it with the car",
)
_SENTENCES = {
    "email": ("You can reach me at {}.", "Please reply to {} as well.", "My account runs under {}."),
    "phone": ("You can call me on {}.", "My mobile: {}", "Phone {} if there are questions."),
    "card": ("I paid with card {}.", "The credit card was {}.", "Card number {}, in case you need it."),
    "iban": ("My IBAN is {}.", "Any money can go to {}.", "Bank account: {}"),
    "address": ("My address is {}.", "I live at {}.", "Home: {}"),
    "national_id": ("My {} if you need to check.", "To prove who I am: {}."),
    "birth_date": ("I was born on {}.", "Date of birth: {}"),
    "ip": ("I log in from IP {}.", "Your page shows my IP as {}."),
    "password": ("My password: {}", "You may log in yourself, password: {}"),
}
_LABELS = {"email": ("E-Mail: {}", "{}"), "phone": ("Tel. {}",), "iban": ("IBAN: {}",)}
"""For the languages other than English."""

_OLD = {
    "en": "Thank you for your order {}. We will write when it is on its way.\nYour Larkfield team",
    "de": "Vielen Dank für Ihre Bestellung {}.\nIhr Larkfield-Team",
    "fr": "Merci pour votre commande {}.\nVotre équipe Larkfield",
    "es": "Gracias por su pedido {}.\nSu equipo de Larkfield",
}


@dataclass(slots=True)
class _Draft:
    """A message in the making: what it says so far, and how that is to be read."""

    context: Context
    says: list[Said]
    values: dict[str, str] = field(default_factory=dict)
    order: str | None = None
    items: tuple[str, ...] = ()
    planted: list[tuple[str, str]] = field(default_factory=list)


def generate(count: int, seed: int, families: tuple[Family, ...] = FAMILIES) -> Iterator[Example]:
    seen: set[str] = set()
    for at in range(count):
        for attempt in range(100):
            random = Random(f"{seed}:{at}:{attempt}")  # noqa: S311 - no secret
            example = one(_turn(families, at, seed), f"g{seed}-{at:06}", random)
            if example.message not in seen:
                break
        seen.add(example.message)
        yield example


def _turn(families: tuple[Family, ...], at: int, seed: int) -> Family:
    """Each family once in every round, in an order of the round's own."""
    cycle, place = divmod(at, len(families))
    return Random(f"{seed}:{cycle}").sample(families, len(families))[place]  # noqa: S311 - no secret


def one(family: Family, id: str, random: Random) -> Example:
    context, order, thing = scenes.draw(family, random)
    template = random.choice(family.texts)
    draft = _Draft(context, list(family.says))
    _product(family, draft, thing, random)
    _facts(template, family, draft, order, thing, random)
    text = _text(template, family, draft, order, random)
    reading = Reading(family.topics, draft.order, draft.items, tuple(dict.fromkeys(draft.says)), family.lang)
    if not draft.context.verified and draft.order is None:
        draft.context = Context(False, draft.context.attachments, (), draft.context.products)
        reading = Reading(family.topics, None, (), reading.says, family.lang)
    decision = decide(reading, draft.context)
    planted = [(kind, value) for kind, value in draft.planted if value in text]
    return Example(
        id,
        "generated",
        family.id,
        text,
        draft.context,
        answer(decision, reply(decision, reading, draft.context, random)),
        reading,
        decision.rules,
        tuple(Planted(f"{id}.{number}", kind, value) for number, (kind, value) in enumerate(planted, 1)),
    )


def _product(family: Family, draft: _Draft, thing: Line | None, random: Random) -> None:
    if family.products in ("known", "unknown"):
        sku, questions = random.choice(list((KNOWN if family.products == "known" else UNKNOWN).items()))
        draft.values |= {"product": BY_SKU[sku].noun, "question": random.choice(questions)}
        draft.items = (sku,)
        draft.context = Context(draft.context.verified, 0, draft.context.orders, (facts(sku),))
    elif family.products == "none":
        skus = random.sample([product.sku for product in PRODUCTS], random.choice((0, 2, 2, 3)))
        draft.context = Context(draft.context.verified, 0, draft.context.orders, tuple(map(facts, skus)))


def _facts(
    template: str, family: Family, draft: _Draft, order: Order | None, thing: Line | None, random: Random
) -> None:
    """Fills the fields of the template, now and then with what is not true, and notes how a reader takes them."""
    others = [other for other in draft.context.orders if other is not order]
    twist = random.random()
    if "{order}" in template:
        named = order.id if order else scenes.number(random)
        if twist < 0.06:
            named = scenes.number(random)
        elif twist < 0.10 and others:
            named = random.choice(others).id
        draft.order, draft.values["order"] = named, _spelt(named, random)
    if "{item}" in template and thing is None:
        draft.values["item"] = random.choice(PRODUCTS).noun
    elif "{item}" in template and thing is not None:
        known = {sku for other in draft.context.orders for sku in other.skus}
        strangers = [p.sku for p in PRODUCTS if p.noun not in {BY_SKU[sku].noun for sku in known}]
        if 0.10 <= twist < 0.14 and family.lang == "en" and "danger" not in family.says:
            draft.says.append("unknown_item")
            draft.values["item"] = scenes.noun(random.choice(strangers), "en")
        else:
            draft.items, draft.values["item"] = (thing.sku,), scenes.noun(thing.sku, family.lang)
    product = BY_SKU[thing.sku] if thing else None
    if "{problem}" in template and product:
        draft.says.append("problem")
        draft.values["problem"] = random.choice(FOREIGN_PROBLEMS.get(family.lang, PROBLEMS[product.kind]))
    if "{misuse}" in template:
        draft.says.append("misuse")
        draft.values["misuse"] = random.choice(MISUSE)
    if "{variant}" in template and product:
        draft.says.append("variant")
        draft.values["variant"] = random.choice(product.variants)
    if "{address}" in template:
        draft.says.append("address")
        draft.values["address"] = pii.address(random)
        draft.planted.append(("address", draft.values["address"]))


def _text(template: str, family: Family, draft: _Draft, order: Order | None, random: Random) -> str:
    """The template with noise, greetings, asides, personal data, a signature, and perhaps a quoted thread."""
    lang = family.lang
    words = random.choice(noise.GREETINGS[lang]) + template
    if lang == "en" and random.random() < 0.25:
        aside = random.choice(noise.ASIDES)
        words = f"{words} {aside}" if random.random() < 0.6 else f"{aside} {words}"
    if lang == "en" and family.id != "other_inject" and random.random() < 0.03:
        words += " " + random.choice(noise.INJECTIONS)
    sentences = _SENTENCES if lang == "en" else _LABELS
    for kind in random.sample(list(sentences), random.choice((0, 0, 0, 1, 1, 2))):
        value = pii.MAKERS[kind](random)
        draft.values[f"pii_{kind}"] = value
        draft.planted.append((kind, value))
        words += " " + random.choice(sentences[kind]).format(f"{{pii_{kind}}}")
    words += random.choice(noise.CLOSINGS[lang])
    if random.random() < 0.5:
        draft.values["name"] = pii.name(random)
        draft.planted.append(("name", draft.values["name"]))
        words += random.choice(("\n{name}", "\n\n{name}", " - {name}"))
    text = noise.disturb(words, random)
    text = noise.channel(text.format(**draft.values), lang, random)
    if order is not None and set(family.topics) & NEEDS_ORDER and random.random() < 0.12:
        others = [other.id for other in draft.context.orders if draft.order not in (None, other.id)]
        old = random.choice(others or [order.id])
        text = noise.quoted(text, _OLD[lang].format(old), random)
        draft.order = draft.order or old  # policy 2.3: the quoted number counts if the new text names none
    return text


def _spelt(number: str, random: Random) -> str:
    digits = number[3:]
    return random.choice(
        (number, number, number, number, f"LF{digits}", f"lf-{digits}", f"#{digits}", digits, f"LF {digits}")
    )


def choose(which: str) -> tuple[Family, ...]:
    return tuple(family for family in FAMILIES if which == "all" or (family.id in HELD_OUT) is (which == "held-out"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate customer support messages with their correct answers.")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", choices=("train", "held-out", "all"), default="train")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write(given.out, generate(given.count, given.seed, choose(given.families)))


if __name__ == "__main__":
    main()
