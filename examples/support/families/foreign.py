"""German, French and Spanish. Only situations that `replies_foreign` has words for."""

# ruff: noqa: E501 - a table of sentences

from examples.support.families.family import Family

NOUNS = {
    "de": {"kettle": "Wasserkocher", "headlamp": "Stirnlampe", "tent-2p": "Zelt", "boots-42": "Stiefel", "backpack-45": "Rucksack",
           "thermos": "Thermoskanne", "sleeping-bag": "Schlafsack", "stove": "Gaskocher", "blanket": "Wolldecke", "desk-lamp": "Schreibtischlampe",
           "gloves": "Handschuhe", "chair": "Campingstuhl"},
    "fr": {"kettle": "bouilloire", "headlamp": "lampe frontale", "tent-2p": "tente", "boots-42": "chaussures", "backpack-45": "sac à dos",
           "thermos": "thermos", "sleeping-bag": "sac de couchage", "stove": "réchaud", "blanket": "couverture", "desk-lamp": "lampe de bureau",
           "gloves": "gants", "chair": "chaise de camping"},
    "es": {"kettle": "hervidor", "headlamp": "linterna frontal", "tent-2p": "tienda", "boots-42": "botas", "backpack-45": "mochila",
           "thermos": "termo", "sleeping-bag": "saco de dormir", "stove": "hornillo", "blanket": "manta", "desk-lamp": "lámpara",
           "gloves": "guantes", "chair": "silla"},
}  # fmt: skip
PROBLEMS = {
    "de": ("es hat einen Riss", "ein Teil ist abgebrochen", "es ist gleich kaputtgegangen"),
    "fr": ("il y a une fissure", "une pièce s'est cassée"),
    "es": ("tiene una grieta", "se ha roto una pieza", "viene con una parte rota"),
}

FOREIGN = (
    Family("de_where", ("where",), (
        "Wo bleibt meine Bestellung {order}?",
        "Wann kommt mein Paket ({item})?",
        "Können Sie mir sagen, wie weit {order} ist?",
        "Ich warte auf meine Bestellung. Gibt es etwas Neues?",
    ), lang="de"),
    Family("de_not_here", ("not_here",), (
        "Laut Sendungsverfolgung wurde {order} zugestellt, hier ist aber nichts.",
        "Paket angeblich abgegeben, niemand im Haus hat es. Es geht um: {item}.",
    ), lang="de", scenes=("here", "missing")),
    Family("de_cancel", ("cancel",), (
        "Bitte stornieren Sie {order}.",
        "Ich möchte meine Bestellung widerrufen, Nummer {order}.",
        "Ich brauche die Sachen nicht mehr, bitte nicht verschicken.",
    ), lang="de"),
    Family("de_return", ("return",), (
        "Das gefällt mir nicht ({item}), wie kann ich es zurückgeben?",
        "Ich möchte aus {order} etwas zurückschicken: {item}.",
        "Wie funktioniert eine Rücksendung bei {order}?",
    ), lang="de"),
    Family("de_broken", ("broken",), (
        "Reklamation zu {order}, Artikel: {item}. Der Fehler: {problem}.",
        "Leider defekt ({item}): {problem}.",
        "Der Artikel aus {order} ist kaputt.",
    ), lang="de"),
    Family("fr_where", ("where",), (
        "Où en est ma commande {order} ?",
        "Quand vais-je recevoir mon colis ({item}) ?",
        "Bonjour, je n'ai pas de nouvelles de {order}.",
    ), lang="fr"),
    Family("fr_return", ("return",), (
        "Je voudrais renvoyer un article de la commande {order} : {item}.",
        "Comment faire un retour pour {order} ?",
        "Cela ne me convient pas ({item}), comment le renvoyer ?",
    ), lang="fr"),
    Family("fr_refund", ("refund",), (
        "Toujours pas de remboursement pour {order}.",
        "J'ai renvoyé mon colis, quand serai-je remboursé ?",
        "Avez-vous bien reçu mon retour ({item}) ? Je ne vois rien sur mon compte.",
    ), lang="fr"),
    Family("es_where", ("where",), (
        "¿Dónde está mi pedido {order}?",
        "¿Cuándo llega el paquete ({item})?",
        "Hola, quería saber cómo va mi pedido.",
    ), lang="es"),
    Family("es_not_here", ("not_here",), (
        "Pone que {order} está entregado, pero yo no tengo nada.",
        "El repartidor dice que lo entregó ({item}) y aquí no ha venido nadie.",
    ), lang="es", scenes=("here", "missing")),
    Family("es_broken", ("broken",), (
        "Tengo un problema con el pedido {order}, artículo: {item}: {problem}.",
        "Ha llegado mal ({item}): {problem}.",
        "Lo que compré en {order} no funciona.",
    ), lang="es"),
)  # fmt: skip
