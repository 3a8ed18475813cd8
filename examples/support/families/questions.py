"""Questions about products that the catalogue has the answer to, and that it has not."""

# ruff: noqa: E501 - a table of sentences

KNOWN = {
    "tent-2p": ("How heavy is it?", "What is the water column of the floor?", "Are the poles aluminium?"),
    "tent-4p": ("What does it weigh?", "How small does it pack?"),
    "sleeping-bag": ("Down to which temperature is it comfortable?", "Can it be washed?", "Is the filling down or synthetic?"),
    "sleeping-mat": ("How thick is it?", "What is the R-value?", "Is there a repair kit?"),
    "backpack-45": ("Is a rain cover included?", "Is it waterproof?", "Can the back length be adjusted?"),
    "rain-jacket-m": ("Does it run small?", "Are the seams taped?", "How waterproof is it?"),
    "boots-42": ("Should I take a size up?", "Can the sole be replaced?", "Is the lining waterproof?"),
    "helmet-m": ("Which head sizes does M fit?", "Which standard does it meet?"),
    "blanket": ("Is it real wool?", "May I machine-wash it?", "How big is it?"),
    "hammock": ("How much weight does it carry?", "Are straps included?"),
    "headlamp": ("How does it charge?", "How long does it last at full power?", "Is it OK in the rain?"),
    "lantern": ("Which batteries does it need?", "Are batteries included?"),
    "kettle": ("When is it back in stock?", "Does it switch off by itself?", "How many watts does it have?"),
    "coffee-grinder": ("Is it fine enough for espresso?", "How many settings are there?"),
    "heater": ("May I use it in the bathroom?", "For how large a room is it?"),
    "power-bank": ("Am I allowed to take it on a plane?", "What is its capacity?"),
    "watch": ("Does it work with Android?", "Can I swim with it?", "How long does the battery last?"),
    "ice-box": ("Does it run on 12 V?", "How loud is it?", "Do 1.5 litre bottles fit upright?"),
    "stove": ("Which cartridges fit?", "Does it have a lighter?"),
    "thermos": ("How long does it keep tea hot?",),
    "mug": ("Can it go into the microwave?", "May I put it on the fire?"),
    "water-filter": ("Does it hold back viruses?", "How many litres does it last for?"),
    "binoculars": ("Can they be put on a tripod?", "How heavy are they?"),
    "gift-card": ("How long is it valid?",),
}  # fmt: skip
UNKNOWN = {
    "tent-2p": ("Can two people of two metres sleep in it?", "Where is it sewn?"),
    "backpack-45": ("Is it vegan?", "Does it count as hand luggage on your average airline?"),
    "rain-jacket-m": ("Is it free of PFAS?", "Will there be a red one next year?"),
    "boots-42": ("Where does the leather come from?", "Do they take crampons?"),
    "headlamp": ("Does it have a red light?", "Can the battery be changed?"),
    "kettle": ("How loud is it?", "Can I set the temperature?"),
    "coffee-grinder": ("Do you sell spare burrs?",),
    "watch": ("Does it show tides?", "Is there a payment function?"),
    "ice-box": ("Can it freeze?", "Is there a bag for it?"),
    "stove": ("Does it work at minus 15 degrees?", "What does it weigh?"),
    "chair": ("Is the fabric fire-retardant?",),
    "sunglasses": ("Can prescription lenses be fitted?",),
}
