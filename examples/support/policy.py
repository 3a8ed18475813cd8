"""policy.md as code: from what a message was read to say and what the shop knows to the one correct answer.

It makes the labels of the generator and audits those of the gold set and the holdout: there the answer was written with
the message, and `decide` must come to the same from the same reading. Only the words of the reply are not decided here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from msgspec import Struct

from examples.support.world import TODAY, Context, Order, warranty_end

Topic = Literal[
    "where", "not_here", "cancel", "address", "return", "exchange", "refund", "broken", "wrong", "lacking",
    "charge", "declined", "invoice", "invoice_fix", "code", "login", "details", "newsletter", "data",
    "product", "about_delivery", "about_returns", "complaint", "business", "thanks", "offtopic", "unclear",
]  # fmt: skip
"""What a message is about, in the customer's terms. The intent follows from the topic and the order (`_intent`)."""

Said = Literal[
    "danger", "fraud", "legal", "human", "again", "soon",
    "address", "variant", "problem", "misuse", "used", "other_product", "unknown_item", "known",
]  # fmt: skip
"""What else a message says. `again`: at least the third contact about it; `soon`: needed within three days; `address`,
`variant`, `problem`: the new address, the wanted size or colour, what is wrong are told; `misuse`: the customer broke
it; `used`: what is to go back was used; `other_product`: the exchange is for another product; `unknown_item`: it is
about a thing that no order has; `known`: the context has what a product question asks for."""

INTENTS = (
    "address_change", "cancel", "damaged", "wrong_item", "not_received", "warranty", "billing",
    "refund_status", "exchange", "return", "order_status", "account", "product_question", "other",
)  # fmt: skip
"""In the order of policy 17: of two requests, the first in this list is answered first."""

SLOTS = ("identity", "order_id", "item", "problem", "photo", "variant", "address")
PRIORITIES = ("low", "normal", "high", "urgent")
VALUE_LIMIT = 400  # EUR; above it a person decides (policy 3.6)

NEEDS_ORDER = {"where", "not_here", "cancel", "address", "return", "exchange", "refund", "broken", "wrong", "lacking"}
_NEEDS_ITEM = {"return", "exchange", "broken", "wrong", "lacking"}
_IN_HAND = {"exchange", "broken", "wrong", "lacking"}  # the goods are there, so the order must be delivered
_NEEDS_IDENTITY = NEEDS_ORDER | {"invoice", "details"}


class Reading(Struct, frozen=True, omit_defaults=True):
    """A message as a careful reader understands it. `order`: the number that it names, in the shop's spelling; `items`:
    the SKUs of the context that it means; `lang`: the language that it is written in."""

    topics: tuple[Topic, ...]
    order: str | None = None
    items: tuple[str, ...] = ()
    says: tuple[Said, ...] = ()
    lang: str = "en"


class Decision(Struct, frozen=True):
    """The answer without its reply. `rules`: the paragraphs of policy.md that it follows from."""

    intent: str
    order_id: str | None
    items: tuple[str, ...]
    priority: str
    action: str
    missing: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Verdict:
    action: str
    rule: str
    missing: tuple[str, ...] = ()
    priority: str = "normal"


def decide(reading: Reading, context: Context) -> Decision:
    """Policy 17 for several topics: the first in rank is answered, a person takes it all if any part needs one."""
    parts = sorted((_one(topic, reading, context) for topic in reading.topics), key=lambda it: INTENTS.index(it.intent))
    first = parts[0]
    handoff = any(part.action == "handoff" for part in parts)
    return replace_decision(
        first,
        action="handoff" if handoff else first.action,
        missing=() if handoff else first.missing,
        priority=max((part.priority for part in parts), key=PRIORITIES.index),
        rules=tuple(dict.fromkeys(rule for part in parts for rule in part.rules)),
    )


def replace_decision(decision: Decision, **changes: object) -> Decision:
    return Decision(**{name: changes.get(name, getattr(decision, name)) for name in Decision.__struct_fields__})  # type: ignore[arg-type]


def _one(topic: Topic, reading: Reading, context: Context) -> Decision:
    order = _order(topic, reading, context)
    items = _items(topic, order, reading, context)
    verdict = _handoff(reading)
    if verdict is None and not context.verified and topic in _NEEDS_IDENTITY:
        verdict = _Verdict("ask", "1.1", ("identity",))
    if verdict is None and order is None and topic in NEEDS_ORDER:
        urgent = "high" if topic in ("cancel", "address") else "normal"
        verdict = _Verdict("ask", "2.2", ("order_id",), urgent)
    if verdict is None:
        verdict = _VERDICTS[topic](_Case(order, items, reading, context))
    if {"again", "soon"} & set(reading.says) and PRIORITIES.index(verdict.priority) < PRIORITIES.index("high"):
        verdict = replace(verdict, priority="high")
    number = order.id if order else None
    return Decision(
        _intent(topic, order), number, items, verdict.priority, verdict.action, verdict.missing, (verdict.rule,)
    )


def _handoff(reading: Reading) -> _Verdict | None:
    """Policy 3: what a person takes over, whatever the message is about."""
    for said, rule, priority in (
        ("danger", "3.1", "urgent"),
        ("fraud", "3.2", "urgent"),
        ("legal", "3.3", "high"),
        ("human", "3.4", "normal"),
        ("again", "3.5", "high"),
    ):
        if said in reading.says:
            return _Verdict("handoff", rule, priority=priority)
    return None


def _order(topic: Topic, reading: Reading, context: Context) -> Order | None:
    """Policy 2. None: no order, or not known which."""
    if reading.order is not None:
        named = next((order for order in context.orders if order.id == reading.order), None)
        if named is None or topic not in NEEDS_ORDER:
            return named
        apart = reading.items and not set(reading.items) & set(named.skus)
        mismatch = apart or "unknown_item" in reading.says
        return None if mismatch or (topic in _IN_HAND and named.state != "delivered") else named
    if topic not in NEEDS_ORDER or "unknown_item" in reading.says:
        return None
    pool = [order for order in context.orders if set(reading.items) <= set(order.skus)]
    fitting = [order for order in pool if order.state in _FITTING[topic]]
    if len(fitting) == 1:
        return fitting[0]
    return pool[0] if len(pool) == 1 and topic not in _IN_HAND else None


_FITTING: dict[Topic, tuple[str, ...]] = {
    "where": ("placed", "packed", "shipped"),
    "not_here": ("shipped", "delivered"),
    "cancel": ("placed", "packed", "shipped"),
    "address": ("placed", "packed", "shipped"),
    "return": ("delivered",),
    "exchange": ("delivered",),
    "broken": ("delivered",),
    "wrong": ("delivered",),
    "lacking": ("delivered",),
    "refund": ("returned", "refunded", "cancelled"),
}


def _items(topic: Topic, order: Order | None, reading: Reading, context: Context) -> tuple[str, ...]:
    """Policy 2.4: the lines that the message means, in the order of the context."""
    if topic == "product":
        every = dict.fromkeys(
            [*(known.sku for known in context.products), *(s for o in context.orders for s in o.skus)]
        )
        return tuple(sku for sku in every if sku in reading.items)
    if order is None:
        return ()
    named = tuple(sku for sku in order.skus if sku in reading.items)
    return order.skus if not named and topic in _NEEDS_ITEM and len(order.skus) == 1 else named


def _intent(topic: Topic, order: Order | None) -> str:
    match topic:
        case "where" | "not_here" if order is not None:
            return "not_received" if order.late or order.state == "delivered" else "order_status"
        case "broken":
            return "warranty" if order is not None and order.age > 30 else "damaged"
    return _INTENT[topic]


_INTENT: dict[str, str] = {
    "where": "order_status", "about_delivery": "order_status", "not_here": "not_received", "cancel": "cancel",
    "address": "address_change", "return": "return", "about_returns": "return", "exchange": "exchange",
    "refund": "refund_status", "wrong": "wrong_item", "lacking": "wrong_item", "charge": "billing",
    "declined": "billing", "invoice": "billing", "invoice_fix": "billing", "code": "billing", "login": "account",
    "details": "account", "newsletter": "account", "data": "account", "product": "product_question",
    "complaint": "other", "business": "other", "thanks": "other", "offtopic": "other", "unclear": "other",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Case:
    found: Order | None
    items: tuple[str, ...]
    reading: Reading
    context: Context

    @property
    def order(self) -> Order:
        assert self.found is not None
        return self.found

    @property
    def value(self) -> int:
        """EUR of the lines that are meant, of the whole order if none is."""
        return sum(line.qty * line.price for line in self.order.of(self.items or self.order.skus))

    def lacks(self, **slots: bool) -> tuple[str, ...]:
        return tuple(slot for slot in SLOTS if slots.get(slot, False))

    def says(self, what: Said) -> bool:
        return what in self.reading.says


def _delivery(case: _Case) -> _Verdict:
    order = case.order
    match order.state:
        case "delivered" if order.age <= 2:
            return _Verdict("answer", "4.5")
        case "delivered":
            return _Verdict("handoff", "4.6", priority="high")
        case "cancelled" | "returned" | "refunded":
            return _Verdict("answer", "4.7")
    if order.late > 7:
        return _Verdict("handoff", "4.4", priority="high")
    if order.late:
        return _Verdict("answer", "4.3")
    return _Verdict("answer", "4.2" if order.state == "shipped" else "4.1")


def _cancel(case: _Case) -> _Verdict:
    match case.order.state:
        case "placed" if case.value > VALUE_LIMIT:
            return _Verdict("handoff", "3.6", priority="high")
        case "placed":
            return _Verdict("answer", "5.1", priority="high")
        case "packed" | "shipped":
            return _Verdict("answer", "5.2")
        case "delivered":
            return _Verdict("answer", "5.3" if case.order.age <= 30 else "7.2")
    return _Verdict("answer", "5.4")


def _address(case: _Case) -> _Verdict:
    if case.order.state != "placed":
        return _Verdict("answer", "6.3")
    if not case.says("address"):
        return _Verdict("ask", "6.2", ("address",), "high")
    return _Verdict("answer", "6.1", priority="high")


def _back(case: _Case, closed: str, excluded: str) -> _Verdict | None:
    """What returns and exchanges have in common: the window, the item, what cannot be sent back."""
    if case.order.age > 30:
        return _Verdict("answer", closed)
    if case.items and not all(line.returnable for line in case.order.of(case.items)):
        return _Verdict("answer", excluded)
    return None


def _return(case: _Case) -> _Verdict:
    if case.order.state in ("cancelled", "returned", "refunded"):
        return _Verdict("answer", "7.6")
    if case.order.state != "delivered":
        return _Verdict("answer", "7.5")
    if no := _back(case, "7.2", "7.3"):
        return no
    if case.says("used"):
        return _Verdict("answer", "7.8")
    if not case.items:
        return _Verdict("ask", "7.4", ("item",))
    return _Verdict("handoff", "3.6") if case.value > VALUE_LIMIT else _Verdict("answer", "7.1")


def _exchange(case: _Case) -> _Verdict:
    if no := _back(case, "8.2", "8.3"):
        return no
    if case.says("other_product"):
        return _Verdict("answer", "8.5")
    if missing := case.lacks(item=not case.items, variant=not case.says("variant")):
        return _Verdict("ask", "8.4", missing)
    return _Verdict("answer", "8.1")


def _refund(case: _Case) -> _Verdict:
    match case.order.state:
        case "returned":
            return _Verdict("answer", "9.1") if case.order.age <= 10 else _Verdict("handoff", "9.2", priority="high")
        case "refunded" | "cancelled":
            return _Verdict("answer", "9.3") if case.order.age <= 7 else _Verdict("handoff", "9.4", priority="high")
    return _Verdict("answer", "9.5")


def _broken(case: _Case) -> _Verdict:
    order, early = case.order, case.order.age <= 30
    if case.says("misuse"):
        return _Verdict("answer", "12.3")
    if not early and case.items and all(warranty_end(order, line) < TODAY for line in order.of(case.items)):
        return _Verdict("answer", "12.2")
    missing = case.lacks(
        item=not case.items,
        problem=not case.says("problem"),
        photo=early and not case.context.attachments,
    )
    if missing:
        return _Verdict("ask", "10.2" if early else "12.4", missing)
    return _Verdict("answer", "10.1" if early else "12.1")


def _wrong(case: _Case) -> _Verdict:
    if case.order.age > 30:
        return _Verdict("handoff", "11.3")
    photo = "wrong" in case.reading.topics and not case.context.attachments
    if missing := case.lacks(item=not case.items, photo=photo):
        return _Verdict("ask", "11.2", missing)
    return _Verdict("answer", "11.1")


def _product(case: _Case) -> _Verdict:
    if case.says("known"):
        return _Verdict("answer", "15.1", priority="low")
    if not case.items:
        return _Verdict("ask", "15.3", ("item",), "low")
    return _Verdict("handoff", "15.2", priority="low")


def _always(action: str, rule: str, priority: str = "normal", *missing: str) -> Callable[[_Case], _Verdict]:
    return lambda case: _Verdict(action, rule, missing, priority)


_VERDICTS: dict[Topic, Callable[[_Case], _Verdict]] = {
    "where": _delivery,
    "not_here": _delivery,
    "cancel": _cancel,
    "address": _address,
    "return": _return,
    "exchange": _exchange,
    "refund": _refund,
    "broken": _broken,
    "wrong": _wrong,
    "lacking": _wrong,
    "product": _product,
    "charge": _always("handoff", "13.1", "high"),
    "declined": _always("answer", "13.2"),
    "invoice": _always("answer", "13.3", "low"),
    "invoice_fix": _always("handoff", "13.4"),
    "code": _always("answer", "13.5", "low"),
    "login": _always("answer", "14.1"),
    "details": _always("answer", "14.2"),
    "newsletter": _always("answer", "14.3", "low"),
    "data": _always("handoff", "14.4"),
    "about_delivery": _always("answer", "4.8", "low"),
    "about_returns": _always("answer", "7.7", "low"),
    "complaint": _always("handoff", "16.1"),
    "business": _always("handoff", "16.2", "low"),
    "thanks": _always("answer", "16.3", "low"),
    "offtopic": _always("answer", "16.4", "low"),
    "unclear": _always("ask", "16.5", "normal", "problem"),
}
