"""Orders and what an app knows when a message comes in: the context that goes with it.

Everything is relative to a fixed day, so that a file made today and one made next year are the same bytes. `render` is
how a context is written into the prompt: with the days counted, because the shop's software can count and a small model
need not.
"""

from calendar import monthrange
from datetime import date, timedelta
from typing import Literal

from msgspec import Struct

from examples.support.catalogue import BY_SKU

TODAY = date(2026, 11, 24)  # a Tuesday

State = Literal["placed", "packed", "shipped", "delivered", "cancelled", "returned", "refunded"]


class Line(Struct, frozen=True):
    """`price`: EUR each. `returnable`: false for outlet, hygiene goods and gift cards."""

    sku: str
    name: str
    qty: int
    price: int
    returnable: bool
    warranty_months: int


class Order(Struct, frozen=True):
    """`since`: the day it got into this state. `due`: when the carrier or the shop expects to deliver it.
    `returned`: the return's parcel arrived at the shop; `refunded`: the money was sent."""

    id: str
    state: State
    since: date
    due: date
    lines: tuple[Line, ...]

    @property
    def skus(self) -> tuple[str, ...]:
        return tuple(line.sku for line in self.lines)

    @property
    def age(self) -> int:
        """Days since it is in its state."""
        return (TODAY - self.since).days

    @property
    def late(self) -> int:
        """Days past its due date, for an order that has not been delivered; else 0."""
        return max(0, (TODAY - self.due).days) if self.state in ("placed", "packed", "shipped") else 0

    def of(self, items: tuple[str, ...]) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.sku in items)


class Facts(Struct, frozen=True):
    """A page of the catalogue that the app looked up for a product question."""

    sku: str
    name: str
    facts: str


class Context(Struct, frozen=True):
    """`verified`: the customer is logged in or writes from the address of the account. `attachments`: pictures that
    came with the message. `orders`: what the shop found for this customer, newest first."""

    verified: bool = True
    attachments: int = 0
    orders: tuple[Order, ...] = ()
    products: tuple[Facts, ...] = ()
    today: date = TODAY


def line(sku: str, qty: int = 1) -> Line:
    product = BY_SKU[sku]
    return Line(sku, product.name, qty, product.price, product.returnable, product.warranty_months)


def facts(sku: str) -> Facts:
    return Facts(sku, BY_SKU[sku].name, BY_SKU[sku].facts)


def order(id: str, state: State, days: int, lines: tuple[Line, ...]) -> Order:
    """`days`: until it is due, for one that is on its way (negative: late); since it is in its state, for others."""
    if state in ("placed", "packed", "shipped"):
        due = TODAY + timedelta(days)
        before = {"placed": 5, "packed": 4, "shipped": 3}[state]
        return Order(id, state, min(due - timedelta(before), TODAY), due, lines)
    since = TODAY - timedelta(days)
    return Order(id, state, since, since, lines)


def warranty_end(order: Order, line: Line) -> date:
    """The warranty runs from the day of delivery; to the end of the month where that has no such day."""
    years, month = divmod(order.since.month - 1 + line.warranty_months, 12)
    year = order.since.year + years
    return date(year, month + 1, min(order.since.day, monthrange(year, month + 1)[1]))


_MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
MONTHS = {lang: tuple(names.split()) for lang, names in _MONTHS.items()}


def day_in(lang: str, day: date, year: bool = False) -> str:
    """As replies write it (voice 7): 7 November, 7. November, 7 novembre, 7 de noviembre."""
    month = MONTHS[lang][day.month - 1]
    of = {"en": " ", "de": ". ", "fr": " ", "es": " de "}[lang]
    return f"{day.day}{of}{month}" + (f"{' de ' if lang == 'es' else ' '}{day.year}" if year else "")


def render(context: Context) -> str:
    attached = context.attachments or "none"
    lines = [f"Today: {_day(context.today)}. Verified: {'yes' if context.verified else 'no'}. Attachments: {attached}."]
    for order in context.orders:
        lines.append(f"Order {order.id}: {_state(order)}")
        lines += [_line(order, line) for line in order.lines]
    if not context.orders:
        lines.append("Orders: none found")
    lines += [f"Product {known.sku}: {known.name}. {known.facts}" for known in context.products]
    return "\n".join(lines)


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def _relative(day: date) -> str:
    days = (day - TODAY).days
    text = "today" if days == 0 else f"in {days} days" if days > 0 else f"{-days} days ago"
    return f"{_day(day)} ({text.replace('1 days', '1 day') if abs(days) == 1 else text})"


def _state(order: Order) -> str:
    match order.state:
        case "placed":
            return f"placed, not packed yet, due {_relative(order.due)}"
        case "packed":
            return f"packed, waits for the carrier, due {_relative(order.due)}"
        case "shipped":
            return f"shipped {_day(order.since)}, due {_relative(order.due)}"
        case "returned":
            return f"return arrived {_relative(order.since)}, not refunded yet"
        case other:
            return f"{other} {_relative(order.since)}"


def _line(order: Order, line: Line) -> str:
    text = f"- {line.sku}: {line.name}, {line.qty} x {line.price} EUR"
    if not line.returnable:
        text += ", no returns"
    if order.state == "delivered":
        text += f", warranty until {_day(warranty_end(order, line))}"
    return text
