"""The words of a generated answer: English. Keyed by the paragraph of policy.md that the answer follows from.

Fields: `order`, the number; `about`, " for order LF-1" if one may be named; `thing`, what the items are called, or "goods";
`due` and `since`, days of the order; `until`, the end of the warranty; `facts`, what the shop knows of a product.
"""

# ruff: noqa: E501 - a table of sentences

from random import Random

from examples.support import replies_foreign as foreign
from examples.support.catalogue import BY_SKU
from examples.support.policy import Decision, Reading
from examples.support.world import Context, Order, day_in, warranty_end

HANDOFFS = frozenset(
    [
        "3.1",
        "3.2",
        "3.3",
        "3.4",
        "3.5",
        "3.6",
        "4.4",
        "4.6",
        "9.2",
        "9.4",
        "11.3",
        "13.1",
        "13.4",
        "14.4",
        "15.2",
        "16.1",
        "16.2",
    ],
)

ENGLISH: dict[str, tuple[str, ...]] = {
    "1.1": (
        "To protect your data we need to know that it is you. Please log in to your account and write from there.",
        "Before we look into this, please log in or write to us from the email address of your account.",
    ),
    "3.1": (
        "Please stop using the {thing} at once and keep away from it. A colleague is informed and contacts you about order {order} as soon as possible.",
        "Please stop using it right away and unplug or shut it off if that is safe. A colleague takes this over{about} with priority.",
    ),
    "3.2": (
        "Thank you for telling us. A colleague looks into this{about} with priority and contacts you; please change your password in the meantime.",
    ),
    "3.3": ("We have passed your message{about} to a colleague, who replies within one working day.",),
    "3.4": (
        "A colleague takes this over{about} and replies within one working day.",
        "Of course. A colleague reads your message{about} and writes to you within one working day.",
    ),
    "3.5": (
        "We are sorry that this has taken several messages. A colleague takes it over{about} and replies within one working day.",
    ),
    "3.6": (
        "Because of the value of the goods a colleague handles this{about} and replies within one working day.",
        "A colleague takes care of this{about} and replies within one working day, as the sum is above 400 EUR.",
    ),
    "4.1": (
        "We are preparing order {order}. It is expected to arrive by {due}.",
        "Order {order} has not left us yet. We expect it to be with you by {due}.",
    ),
    "4.2": (
        "Order {order} is on its way and expected by {due}.",
        "We have handed order {order} to the carrier. It should reach you by {due}.",
    ),
    "4.3": (
        "We are sorry that order {order} is late; it was expected by {due}. Please wait until 7 days after that day and write again if it is not there, then we search for it.",
        "Order {order} was expected by {due} and is late, we are sorry. If it is not there 7 days after that day, please write again and we have the carrier search.",
    ),
    "4.4": (
        "We are sorry that order {order}, expected by {due}, has not come. A colleague has the carrier search for it and replies within one working day.",
    ),
    "4.5": (
        "The carrier reports order {order} as delivered on {since}. Please look in safe places and ask your neighbours, and write again after 2 days if it is not there.",
        "Order {order} is marked as delivered on {since}. It often turns up at a neighbour's or in a safe place; if not, please write again after 2 days.",
    ),
    "4.6": (
        "We are sorry. Order {order} is marked as delivered on {since}, so a colleague has the carrier search for it and replies within one working day.",
    ),
    "4.7": ("Nothing is on its way any more: order {order} has been closed since {since}.",),
    "4.8": (
        "Delivery takes 3 to 5 working days and costs 4.90 EUR, nothing from 60 EUR. We send to the EU, Switzerland, Norway and the United Kingdom.",
        "We deliver within 3 to 5 working days to the EU, Switzerland, Norway and the United Kingdom. It costs 4.90 EUR, and nothing from 60 EUR.",
    ),
    "5.1": (
        "We have cancelled {part}order {order}. The money goes back to where it came from within 5 working days.",
        "Done: {part}order {order} is cancelled. You receive the money within 5 working days by the way you paid.",
    ),
    "5.2": (
        "Order {order} has been packed already and cannot be cancelled. You can refuse the parcel at the door or send it back within 30 days of delivery.",
        "It is too late to cancel order {order}, which is packed. Please refuse the parcel or return it within 30 days of delivery.",
    ),
    "5.3": (
        "Order {order} was delivered on {since} and cannot be cancelled. You can send it back within 30 days of delivery with a label from your account.",
    ),
    "5.4": (
        "There is nothing left to cancel: order {order} has been closed since {since}.",
        "Order {order} has been closed since {since}, so there is nothing left to cancel.",
    ),
    "6.1": (
        "We have changed the address of order {order}. It goes to the new one.",
        "Order {order} now goes to the address you gave us.",
    ),
    "6.3": (
        "The address of order {order} can no longer be changed, because it is packed. The link in the carrier's message may let you redirect a parcel that is on its way.",
        "It is too late to change the address of order {order}. If the parcel is on its way, the carrier's message may have a link to redirect it.",
    ),
    "7.1": (
        "You can send back the {thing} from order {order}. Please make a label in your account under Orders; it costs 4.90 EUR, and the money goes back within 10 days of the parcel's arrival.",
        "Please make a return label for order {order} in your account under Orders. We take 4.90 EUR for it off the refund, which we send within 10 days of the arrival of the {thing}.",
    ),
    "7.2": (
        "Order {order} was delivered on {since}. Returns are possible within 30 days of delivery, so we cannot take it back.",
        "We can take goods back within 30 days of delivery. For order {order}, delivered on {since}, that time is over.",
    ),
    "7.3": (
        "The {thing} from order {order} cannot be returned: outlet goods, hygiene goods and gift cards are excluded.",
        "We do not take back outlet goods, hygiene goods and gift cards, so the {thing} from order {order} cannot be returned.",
    ),
    "7.5": (
        "Order {order} is not with you yet. You can refuse the parcel at the door, or send it back within 30 days of delivery.",
    ),
    "7.6": ("Order {order} has been closed since {since}, so there is nothing left to return.",),
    "7.7": (
        "You can return unused goods within 30 days of delivery. The label from your account costs 4.90 EUR.",
        "Returns are possible within 30 days of delivery if the goods are unused; a label costs 4.90 EUR.",
    ),
    "7.8": (
        "We take goods back within 30 days of delivery if they are unused, so the {thing} from order {order} cannot be returned.",
        "Goods that were used cannot be returned, so we cannot take back the {thing} from order {order}.",
    ),
    "8.1": (
        "We send the other {thing} for order {order}. Please send the old one back with the free label in the parcel.",
        "The exchange for order {order} is arranged. A free label for the old {thing} is in the parcel with the new one.",
    ),
    "8.2": (
        "Order {order} was delivered on {since}. Exchanges are possible within 30 days of delivery, so we cannot change the {thing}.",
    ),
    "8.3": (
        "The {thing} from order {order} cannot be exchanged: outlet goods, hygiene goods and gift cards are excluded.",
    ),
    "8.5": (
        "We exchange sizes and colours of the same product only. Please return the {thing} from order {order} within 30 days of delivery and order the other product.",
    ),
    "9.1": (
        "Your return for order {order} arrived on {since}. We send the money within 10 days of that day.",
        "We have had your return for order {order} since {since} and send the money within 10 days of its arrival.",
    ),
    "9.2": (
        "We are sorry for the delay. Your return for order {order} arrived on {since}; a colleague checks the refund and replies within one working day.",
    ),
    "9.3": (
        "The money for order {order} is on its way since {since}. Banks take up to 5 working days.",
        "We started the refund for order {order} on {since}. It can take your bank up to 5 working days to show it.",
    ),
    "9.4": (
        "The refund for order {order} dates from {since} and should be with you. A colleague checks the payment and replies within one working day.",
    ),
    "9.5": (
        "No return for order {order} has reached us yet. The refund begins when it arrives.",
        "We have not received a return for order {order} so far. As soon as it arrives we start the refund.",
    ),
    "10.1": (
        "We are sorry that the {thing} from order {order} came like this. We send a replacement at no cost, or the money back if you prefer that; nothing needs to be sent back.",
        "We are sorry about the {thing} from order {order}. You get a replacement at no cost, or your money back if you would rather have that. You need not send anything back.",
    ),
    "11.1": (
        "We are sorry for the mix-up. We send the {thing} for order {order} at no cost, and a wrong item need not come back.",
        "We are sorry. The {thing} for order {order} goes out to you at no cost; whatever was wrong in the parcel need not be sent back.",
    ),
    "11.3": (
        "Order {order} was delivered on {since}, more than 30 days ago. A colleague looks into it and replies within one working day.",
    ),
    "12.1": (
        "The warranty covers the {thing} from order {order}. We repair or replace it at no cost; a free label comes by email.",
        "The {thing} from order {order} is still under warranty until {until}. A free label comes by email, and we repair or replace at no cost.",
    ),
    "12.2": (
        "The warranty of the {thing} from order {order} ended on {until}, so we cannot repair or replace it.",
        "The {thing} from order {order} had a warranty until {until}. It is over, and we do not repair for money.",
    ),
    "12.3": (
        "The warranty covers faults of the product, not damage from use or falls. We cannot replace the {thing} from order {order}.",
        "Damage of this kind is not covered by the warranty, so we cannot replace the {thing} from order {order}.",
    ),
    "13.1": ("A colleague checks the payment{about} and replies within one working day.",),
    "13.2": (
        "Nothing was taken when a payment is refused{about}. Please try again or choose another way to pay.",
        "If a payment is refused{about}, no money is taken. Please try once more or pay in another way.",
    ),
    "13.3": ("You find the invoice{about} in your account under Orders.", "The invoice{about} is in your account, under Orders."),
    "13.4": ("A colleague changes the invoice{about} and replies within one working day.",),
    "13.5": (
        "Codes and price cuts cannot be added{about} afterwards, extended or matched. A code that is valid can be used for your next order.",
        "We cannot add codes or price cuts{about} afterwards, nor extend or match them.",
    ),
    "14.1": (
        "Please use the page Forgot password, which sends you a link to log in again.",
        "The page Forgot password sends you a link with which you can log in again.",
    ),
    "14.2": ("You can change this yourself in your account under Details.", "Please change this in your account, under Details."),
    "14.3": ("The link at the foot of each newsletter ends it.", "You can end the newsletter with the link at its foot."),
    "14.4": ("A colleague takes care of your request about your data and replies within one working day.",),
    "15.1": ("This is what we know of it: {facts}", "Here is what we can tell you: {facts}"),
    "15.2": ("We have no record of that. A colleague asks our product team and replies within one working day.",),
    "16.1": ("Thank you for telling us, and we are sorry about this. A colleague reads it and replies within one working day.",),
    "16.2": ("Thank you for your message. A colleague in charge replies within one working day.",),
    "16.3": ("Thank you for your kind words.", "Thank you for writing, we are glad to hear it."),
    "16.4": (
        "We can help with orders, deliveries, returns, products and your account at Larkfield. Please tell us if there is something.",
        "This is the support desk of Larkfield. We are here for orders, deliveries, returns, products and accounts.",
    ),
}  # fmt: skip
_ASK = {
    "en": ("Could you send us {list}{about}?", "Please send us {list}{about}."),
    **foreign.ASK,
}
SLOTS = {
    "en": {
        "order_id": "the order number",
        "item": "the name of the item",
        "problem": "a description of the problem",
        "photo": "a photo of it",
        "variant": "the size or colour that you would like",
        "address": "the full new address",
    },
    **foreign.SLOTS,
}
_BOTH = {"en": "A colleague takes over both requests{about} and replies within one working day.", **foreign.BOTH}
_NEXT = {"en": " We will answer your other request next.", **foreign.NEXT}
_ABOUT = {"en": " for order ", **foreign.ABOUT}
_AND = {"en": " and ", "de": " und ", "fr": " et ", "es": " y "}


def reply(decision: Decision, reading: Reading, context: Context, random: Random) -> str:
    """Raises KeyError for a rule that the language has no words for: its families must not lead there."""
    lang, rule = reading.lang, decision.rules[0]
    order = next((order for order in context.orders if order.id == decision.order_id), None)
    fields = _fields(decision, context, order, lang)
    several = len(reading.topics) > 1
    if decision.action == "handoff" and several and rule not in ("3.1", "3.2"):
        return _BOTH[lang].format(**fields)
    if decision.action == "ask" and rule != "1.1":
        slots = [SLOTS[lang][slot] for slot in decision.missing]
        fields["list"] = _AND[lang].join(filter(None, (", ".join(slots[:-1]), slots[-1])))
        text = random.choice(_ASK[lang])
    else:
        text = random.choice((ENGLISH if lang == "en" else foreign.REPLIES[lang])[rule])
        if "{order}" in text and not fields["order"]:
            text = next(other for other in ENGLISH[rule] if "{order}" not in other)
    return text.format(**fields) + (_NEXT[lang] if several else "")


def _fields(decision: Decision, context: Context, order: Order | None, lang: str) -> dict[str, str]:
    nouns = list(dict.fromkeys(BY_SKU[sku].noun for sku in decision.items))
    thing = " and ".join(nouns) or "goods"
    fields = {"order": "", "about": "", "due": "", "since": "", "until": "", "thing": thing, "part": "", "facts": ""}
    known = [product for product in context.products if product.sku in decision.items]
    if known:
        fields["facts"] = known[0].facts
    if order is None or not context.verified:
        return fields
    lines = order.of(decision.items)
    return fields | {
        "order": order.id,
        "about": _ABOUT[lang] + order.id,
        "due": day_in(lang, order.due),
        "since": day_in(lang, order.since),
        "until": day_in(lang, warranty_end(order, lines[0]), year=True) if lines else "",
        "part": f"the {thing} of " if lines and len(lines) < len(order.lines) else "",
    }
