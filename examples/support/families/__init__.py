"""All template families, and those that no training set may have.

Held-out families say in other ways what training families say, at least one for each intent: a student that only
learnt the words of the templates fails on them.
"""

from examples.support.families.account import ACCOUNT
from examples.support.families.delivery import DELIVERY
from examples.support.families.family import Family
from examples.support.families.foreign import FOREIGN
from examples.support.families.goods import GOODS
from examples.support.families.mixed import MIXED

FAMILIES: tuple[Family, ...] = (*DELIVERY, *GOODS, *ACCOUNT, *MIXED, *FOREIGN)

HELD_OUT = frozenset(
    (
        *("where_gift", "not_here_photo", "cancel_cheaper", "address_moved", "return_partner", "exchange_story"),
        *("refund_bank", "broken_unboxing", "lacking_count", "warranty_season", "charge_statement", "login_phone"),
        *("product_plan", "danger_smell", "two_wrong_invoice", "de_return", "fr_refund", "other_poem"),
    )
)
