"""What Larkfield, our made-up shop, sells. Prices are whole euros.

`kind` says which faults are plausible, `noun` is what customers call a product, `variants` what it can be exchanged for,
`facts` all that the shop knows about it: a product question is answered from there or not at all (policy 15).
"""

# ruff: noqa: E501 - a table of sentences

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    name: str
    noun: str
    kind: str  # electric, gas, textile, hard, paper
    price: int  # EUR
    warranty_months: int = 24
    returnable: bool = True  # False: outlet, hygiene goods, gift cards (policy 7.3)
    variants: tuple[str, ...] = ()
    facts: str = ""


def _sizes(sku: str, sizes: str, name: str, noun: str, kind: str, price: int, facts: str) -> list[Product]:
    every = tuple(sizes.split())
    return [
        Product(
            f"{sku}-{size.lower()}",
            f"{name}, size {size}",
            noun,
            kind,
            price,
            variants=tuple(f"size {other}" for other in every if other != size),
            facts=facts,
        )
        for size in every
    ]


_TENT = "Three seasons, packs to 45 cm. Water column of the floor 5000 mm. Poles of aluminium."
_PACK = "Has a rain cover in the bottom pocket. The back length is adjustable. Not waterproof without the cover."

PRODUCTS: tuple[Product, ...] = (
    Product("tent-2p", "Heron tent, two persons", "tent", "textile", 229, 36, facts=f"{_TENT} Weighs 2.6 kg."),
    Product("tent-4p", "Heron tent, four persons", "tent", "textile", 349, 36, facts=f"{_TENT} Weighs 4.9 kg."),
    Product("sleeping-bag", "Dormouse sleeping bag", "sleeping bag", "textile", 119, variants=("the long one",),
            facts="Comfort down to 2 degrees. Synthetic filling. Washable at 30 degrees. Weighs 1.3 kg."),
    Product("sleeping-mat", "Otter sleeping mat", "sleeping mat", "textile", 59, variants=("the wide one",),
            facts="Inflates itself, 5 cm thick, R-value 3.9. Repair patches are in the bag."),
    Product("backpack-45", "Ibex backpack, 45 l", "backpack", "textile", 139, 60, variants=("green", "grey"), facts=_PACK),
    Product("backpack-25", "Ibex backpack, 25 l", "daypack", "textile", 89, 60, variants=("green", "grey"), facts=_PACK),
    *_sizes("rain-jacket", "S M L XL", "Skua rain jacket", "rain jacket", "textile", 99,
            "Waterproof to 20000 mm, seams taped. Packs into its own pocket. Runs true to size."),
    *_sizes("fleece", "S M L XL", "Wren fleece", "fleece", "textile", 69, "Recycled polyester. Washable at 40 degrees."),
    *_sizes("boots", "38 39 41 42 43 44", "Chamois boots", "boots", "textile", 159,
            "Leather, waterproof lining. Runs small: we advise one size up. The sole can be replaced by a cobbler."),
    *_sizes("helmet", "M L", "Tern bike helmet", "bike helmet", "hard", 79, "M is 54 to 58 cm, L is 58 to 62 cm. Meets EN 1078."),
    Product("gloves", "Wren gloves, outlet", "gloves", "textile", 18, 12, False, facts="Outlet. One size."),
    Product("beanie", "Wren beanie, outlet", "beanie", "textile", 15, 12, False, facts="Outlet. Merino wool."),
    Product("socks", "Wool socks, three pairs", "socks", "textile", 24, 12, facts="70 % merino wool. Washable at 40 degrees."),
    Product("blanket", "Loom wool blanket", "blanket", "textile", 75, variants=("the grey one", "the rust one"),
            facts="New wool, 140 x 200 cm. Dry cleaning only."),
    Product("hammock", "Sloth hammock", "hammock", "textile", 55, facts="Carries up to 150 kg. Straps are in the box."),
    Product("towel", "Travel towel", "towel", "textile", 21, 12, facts="Microfibre, 60 x 120 cm. Washable at 60 degrees."),
    Product("dry-bag", "Dry bag, 20 l", "dry bag", "textile", 19, facts="Roll closure, floats. Not for diving."),
    Product("headlamp", "Glow headlamp", "headlamp", "electric", 39,
            facts="400 lumen, charges by USB-C in two hours, lasts 6 hours at full power. Rain-proof (IPX4)."),
    Product("lantern", "Glow lantern", "lantern", "electric", 29, facts="Takes three AA cells, not in the box. 200 lumen."),
    Product("kettle", "Brook kettle, 1.7 l", "kettle", "electric", 49, variants=("the black one", "the steel one"),
            facts="2200 W, steel inside, switches off by itself when dry. Back in stock on 3 December."),
    Product("coffee-grinder", "Mill coffee grinder", "coffee grinder", "electric", 79,
            facts="Conical steel burr, 18 settings, fine enough for espresso. 120 g of beans at a time."),
    Product("heater", "Hearth fan heater", "heater", "electric", 85,
            facts="1500 W, for rooms up to 15 square metres. Tilts off when it falls. Not for bathrooms."),
    Product("desk-lamp", "Crane desk lamp", "desk lamp", "electric", 65, variants=("black", "white"),
            facts="LED, 2700 to 5000 K, dimmable. The lamp cannot be changed."),
    Product("power-bank", "Vole power bank", "power bank", "electric", 45,
            facts="20000 mAh, 74 Wh, allowed in hand luggage. Two USB-C ports, 30 W."),
    Product("solar-charger", "Lizard solar charger", "solar charger", "electric", 69, facts="21 W, two USB-A ports. Splash-proof."),
    Product("bike-light", "Firefly bike light", "bike light", "electric", 32, facts="Front and rear, charges by USB-C, approved for road use."),
    Product("watch", "Kestrel watch", "watch", "electric", 189, variants=("the brown strap", "the black strap"),
            facts="GPS, 12 days of battery, water-resistant to 50 m. Works with iOS and Android."),
    Product("ice-box", "Fjord ice box", "ice box", "electric", 129, facts="29 l, runs on 12 V and 230 V. 38 dB. Fits bottles of 1.5 l standing."),
    Product("stove", "Ember gas stove", "gas stove", "gas", 54, facts="For screw cartridges (EN 417). 2600 W. Piezo lighter. Sold in stock now."),
    Product("cook-set", "Cook set for two", "cook set", "hard", 45, facts="Anodised aluminium, two pots, a pan. Not for dishwashers."),
    Product("thermos", "Brook thermos, 1 l", "thermos", "hard", 34, variants=("blue", "sand"), facts="Keeps hot for 12 hours. Cup in the lid."),
    Product("bottle", "Brook bottle, 0.75 l", "bottle", "hard", 22, variants=("blue", "sand"), facts="Steel, single wall. Dishwasher-proof."),
    Product("mug", "Enamel mug", "mug", "hard", 12, 12, variants=("red", "white"), facts="0.35 l. Safe on gas and open fire, not in microwaves."),
    Product("knife", "Finch folding knife", "knife", "hard", 38, 60, facts="Steel 12C27, blade of 7.5 cm, lockable. Not sold to minors."),
    Product("chair", "Camp chair", "camp chair", "hard", 49, facts="Carries up to 120 kg. Weighs 2.9 kg."),
    Product("table", "Camp table", "camp table", "hard", 65, facts="60 x 90 cm, bamboo. Carries up to 30 kg."),
    Product("poles", "Ibex trekking poles", "trekking poles", "hard", 64, facts="Aluminium, 65 to 135 cm. Sold as a pair. Rubber tips are in the box."),
    Product("sunglasses", "Tern sunglasses", "sunglasses", "hard", 58, facts="Polarised, category 3. Case in the box."),
    Product("binoculars", "Heron binoculars, 8x32", "binoculars", "hard", 149, 60, facts="8x32, 520 g, waterproof. Tripod thread."),
    Product("ear-plugs", "Ear plugs", "ear plugs", "hard", 9, 12, False, facts="27 dB. Hygiene goods."),
    Product("water-filter", "Newt water filter", "water filter", "hard", 42, 24, False,
            facts="Filters 1000 l, pores of 0.2 micrometres. Does not hold back viruses."),
    Product("first-aid", "First aid kit", "first aid kit", "hard", 27, 12, False, facts="To DIN 13167. Best before 2031."),
    Product("gift-card", "Gift card, 50 EUR", "gift card", "paper", 50, 12, False, facts="Valid for three years. Sent by mail or email."),
    Product("map-set", "Hiking maps, set of four", "maps", "paper", 19, 12, facts="Scale 1 : 25000. Printed in 2025."),
)  # fmt: skip
BY_SKU = {product.sku: product for product in PRODUCTS}
