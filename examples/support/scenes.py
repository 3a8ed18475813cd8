"""Situations: a customer's orders around one that the message is about. Seeded; the same draws give the same shop."""

from random import Random

from examples.support.catalogue import BY_SKU, PRODUCTS, Product
from examples.support.families.family import Family
from examples.support.families.foreign import NOUNS
from examples.support.world import Context, Line, Order, State, line, order

SCENES: dict[str, tuple[State, int, int]] = {
    "placed": ("placed", 2, 6),
    "packed": ("packed", 1, 4),
    "coming": ("shipped", 0, 5),
    "late": ("shipped", -7, -1),
    "lost": ("shipped", -21, -8),
    "here": ("delivered", 0, 2),
    "missing": ("delivered", 3, 12),
    "ours": ("delivered", 3, 30),
    "old": ("delivered", 31, 600),
    "older": ("delivered", 380, 1500),
    "cancelled": ("cancelled", 1, 16),
    "returned": ("returned", 1, 20),
    "refunded": ("refunded", 1, 16),
}
"""Name -> state and the days that `world.order` takes, from and to."""

FITTING: dict[str, tuple[str, ...]] = {
    "where": ("placed", "packed", "coming", "coming", "late", "lost", "cancelled"),
    "not_here": ("here", "missing", "late", "lost"),
    "cancel": ("placed", "placed", "placed", "packed", "coming", "ours", "cancelled"),
    "address": ("placed", "placed", "placed", "packed", "coming"),
    "return": ("here", "ours", "ours", "ours", "old", "coming", "returned"),
    "exchange": ("here", "ours", "ours", "old"),
    "broken": ("here", "ours", "old", "older"),
    "wrong": ("here", "ours", "ours", "old"),
    "lacking": ("here", "ours", "ours", "old"),
    "refund": ("returned", "returned", "refunded", "refunded", "cancelled", "ours"),
}
_COUNTS = (1, 1, 2, 2, 3)


def draw(family: Family, random: Random) -> tuple[Context, Order | None, Line | None]:
    """The context, the order that the customer has in mind, and the thing of it."""
    scene = random.choice(family.scenes or FITTING[family.topics[0]])
    if scene == "none":
        return Context(random.random() > 0.1), None, None
    others = [random.choice(tuple(SCENES)) for _ in range(random.choice((0, 0, 0, 1, 1, 2)))]
    used: set[str] = set()
    orders: list[Order] = []
    for name in (scene, *others):
        lines = _lines(family if not orders else None, family.lang, used, random)
        if lines:
            orders.append(_order(name, lines, random))
    meant, thing = orders[0], orders[0].lines[0]
    meant = orders[0] = order_with(meant, tuple(random.sample(meant.lines, len(meant.lines))))
    faulty = {"broken", "wrong"} & set(family.topics)
    attached = int(random.random() < (0.5 if faulty else 0.05))
    orders.sort(key=lambda order: order.since, reverse=True)
    return Context(random.random() > 0.07, attached, tuple(orders)), meant, thing


def order_with(order: Order, lines: tuple[Line, ...]) -> Order:
    return Order(order.id, order.state, order.since, order.due, lines)


def number(random: Random) -> str:
    return f"LF-{random.randint(100000, 999999)}"


def _order(scene: str, lines: tuple[Line, ...], random: Random) -> Order:
    state, least, most = SCENES[scene]
    return order(number(random), state, random.randint(least, most), lines)


def _lines(family: Family | None, lang: str, used: set[str], random: Random) -> tuple[Line, ...]:
    """No noun twice in a context: "the boots" of two sizes would be a riddle that the reading does not know of."""
    lines: list[Line] = []
    for _ in range(random.choice(_COUNTS)):
        free = [product for product in PRODUCTS if product.noun not in used]
        if lang != "en":
            free = [product for product in free if product.sku in NOUNS[lang]]
        if family is not None and not lines and family.kinds:
            free = [product for product in free if set(family.kinds) & _kinds(product)]
        if free:
            product = random.choice(free)
            used.add(product.noun)
            dear = family is not None and "dear" in family.kinds and not lines
            lines.append(line(product.sku, 3 if dear else random.choice((1, 1, 1, 1, 1, 2))))
    return tuple(lines)


def _kinds(product: Product) -> set[str]:
    return {
        product.kind,
        "variant" if product.variants else "",
        "dear" if product.price > 140 and not product.noun.endswith("s") else "",
        "" if product.returnable else "final",
    } - {""}


def noun(sku: str, lang: str) -> str:
    return BY_SKU[sku].noun if lang == "en" else NOUNS[lang][sku]
