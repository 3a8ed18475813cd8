"""German, French and Spanish words for the paragraphs that the families in these languages can lead to."""

# ruff: noqa: E501 - a table of sentences

REPLIES: dict[str, dict[str, tuple[str, ...]]] = {
    "de": {
        "1.1": ("Zum Schutz Ihrer Daten bitten wir Sie, sich anzumelden oder von der E-Mail-Adresse Ihres Kontos zu schreiben.",),
        "3.6": ("Wegen des Warenwerts kümmert sich eine Kollegin um Bestellung {order} und antwortet innerhalb eines Werktags.",),
        "4.1": ("Wir bereiten Bestellung {order} vor. Sie wird bis zum {due} erwartet.",),
        "4.2": ("Bestellung {order} ist unterwegs und wird bis zum {due} erwartet.",),
        "4.3": ("Es tut uns leid, dass Bestellung {order} sich verspätet; sie war bis zum {due} erwartet. Bitte schreiben Sie uns, wenn sie 7 Tage danach nicht da ist, dann suchen wir sie.",),
        "4.4": ("Es tut uns leid, dass Bestellung {order}, erwartet bis zum {due}, nicht da ist. Eine Kollegin lässt sie suchen und antwortet innerhalb eines Werktags.",),
        "4.5": ("Bestellung {order} ist seit dem {since} als zugestellt gemeldet. Bitte fragen Sie bei den Nachbarn nach und schreiben Sie uns, wenn sie in 2 Tagen nicht da ist.",),
        "4.6": ("Es tut uns leid. Bestellung {order} ist seit dem {since} als zugestellt gemeldet; eine Kollegin lässt sie suchen und antwortet innerhalb eines Werktags.",),
        "4.7": ("Bestellung {order} ist seit dem {since} abgeschlossen, es ist nichts mehr unterwegs.",),
        "5.1": ("Bestellung {order} ist storniert. Das Geld ist innerhalb von 5 Werktagen bei Ihnen.",),
        "5.2": ("Bestellung {order} ist schon gepackt und kann nicht mehr storniert werden. Sie können das Paket an der Tür ablehnen oder es innerhalb von 30 Tagen zurücksenden.",),
        "5.3": ("Bestellung {order} wurde am {since} zugestellt und kann nicht mehr storniert werden. Sie können sie innerhalb von 30 Tagen nach der Zustellung zurücksenden.",),
        "5.4": ("Bestellung {order} ist seit dem {since} abgeschlossen, es gibt nichts mehr zu stornieren.",),
        "7.1": ("Gern. Das Etikett für Bestellung {order} finden Sie im Konto unter Bestellungen; es kostet 4.90 EUR. Das Geld kommt innerhalb von 10 Tagen nach Eingang des Pakets.",),
        "7.2": ("Bestellung {order} wurde am {since} zugestellt. Rückgaben sind nur innerhalb von 30 Tagen nach der Zustellung möglich.",),
        "7.3": ("Outlet-Ware, Hygieneartikel und Gutscheinkarten aus Bestellung {order} können nicht zurückgegeben werden.",),
        "7.5": ("Bestellung {order} ist noch nicht bei Ihnen. Sie können das Paket ablehnen oder es innerhalb von 30 Tagen nach der Zustellung zurücksenden.",),
        "7.6": ("Bestellung {order} ist seit dem {since} abgeschlossen, es gibt nichts mehr zurückzugeben.",),
        "10.1": ("Es tut uns leid. Für Bestellung {order} senden wir kostenlos Ersatz, oder auf Wunsch das Geld. Sie müssen nichts zurücksenden.",),
        "12.1": ("Das ist ein Fall für die Garantie: Bestellung {order} wird kostenlos repariert oder ersetzt. Ein Etikett kommt per E-Mail.",),
        "12.2": ("Die Garantie für den Artikel aus Bestellung {order} endete am {until}. Wir können ihn nicht reparieren oder ersetzen.",),
        "12.3": ("Die Garantie deckt Fehler des Produkts, nicht solche Schäden. Wir können den Artikel aus Bestellung {order} nicht ersetzen.",),
    },
    "fr": {
        "1.1": ("Pour protéger vos données, merci de vous connecter ou de nous écrire depuis l'adresse e-mail de votre compte.",),
        "3.6": ("En raison du montant, une collègue s'occupe de la commande {order} et vous répond sous un jour ouvré.",),
        "4.1": ("Nous préparons la commande {order}. Elle est attendue pour le {due}.",),
        "4.2": ("La commande {order} est en route et attendue pour le {due}.",),
        "4.3": ("Nous sommes désolés du retard de la commande {order}, attendue pour le {due}. Si elle n'est pas là 7 jours après cette date, écrivez-nous et nous la ferons rechercher.",),
        "4.4": ("Nous sommes désolés : la commande {order} était attendue pour le {due}. Une collègue la fait rechercher et vous répond sous un jour ouvré.",),
        "4.5": ("La commande {order} est indiquée comme livrée le {since}. Merci de demander aux voisins, et de nous écrire après 2 jours si elle reste introuvable.",),
        "4.6": ("Nous sommes désolés. La commande {order} est indiquée comme livrée le {since} ; une collègue la fait rechercher et vous répond sous un jour ouvré.",),
        "4.7": ("La commande {order} est close depuis le {since}, rien n'est en route.",),
        "7.1": ("Vous pouvez renvoyer l'article de la commande {order} : l'étiquette est dans votre compte et coûte 4.90 EUR. Le remboursement part dans les 10 jours après l'arrivée du colis.",),
        "7.2": ("La commande {order} a été livrée le {since}. Les retours sont possibles dans les 30 jours après la livraison, ce délai est passé.",),
        "7.3": ("Les articles d'outlet, d'hygiène et les cartes cadeaux de la commande {order} ne peuvent pas être renvoyés.",),
        "7.5": ("La commande {order} n'est pas encore livrée. Vous pouvez refuser le colis ou le renvoyer dans les 30 jours après la livraison.",),
        "7.6": ("La commande {order} est close depuis le {since}, il n'y a plus rien à renvoyer.",),
        "9.1": ("Votre retour de la commande {order} est arrivé le {since}. Le remboursement part dans les 10 jours après cette date.",),
        "9.2": ("Nous sommes désolés de l'attente. Votre retour de la commande {order} est arrivé le {since} ; une collègue vérifie et vous répond sous un jour ouvré.",),
        "9.3": ("Le remboursement de la commande {order} est parti le {since}. La banque met jusqu'à 5 jours ouvrés.",),
        "9.4": ("Le remboursement de la commande {order} date du {since}. Une collègue vérifie le paiement et vous répond sous un jour ouvré.",),
        "9.5": ("Aucun retour de la commande {order} ne nous est parvenu. Le remboursement commence à son arrivée.",),
    },
    "es": {
        "1.1": ("Para proteger sus datos, inicie sesión o escríbanos desde el correo de su cuenta, por favor.",),
        "3.6": ("Por el importe, una compañera se ocupa del pedido {order} y responde en un día laborable.",),
        "4.1": ("Estamos preparando el pedido {order}. Se espera para el {due}.",),
        "4.2": ("El pedido {order} está en camino y se espera para el {due}.",),
        "4.3": ("Sentimos el retraso del pedido {order}, que se esperaba para el {due}. Si 7 días después no ha llegado, escríbanos y lo buscaremos.",),
        "4.4": ("Lo sentimos: el pedido {order} se esperaba para el {due}. Una compañera pide que lo busquen y responde en un día laborable.",),
        "4.5": ("El pedido {order} figura como entregado el {since}. Pregunte a los vecinos, por favor, y escríbanos pasados 2 días si no aparece.",),
        "4.6": ("Lo sentimos. El pedido {order} figura como entregado el {since}; una compañera pide que lo busquen y responde en un día laborable.",),
        "4.7": ("El pedido {order} está cerrado desde el {since}, no hay nada en camino.",),
        "10.1": ("Lo sentimos. Enviamos un repuesto del pedido {order} sin coste, o devolvemos el dinero si lo prefiere. No hace falta devolver nada.",),
        "12.1": ("La garantía lo cubre: reparamos o cambiamos el artículo del pedido {order} sin coste. La etiqueta llega por correo.",),
        "12.2": ("La garantía del artículo del pedido {order} terminó el {until}. No podemos repararlo ni cambiarlo.",),
        "12.3": ("La garantía cubre fallos del producto, no estos daños. No podemos cambiar el artículo del pedido {order}.",),
    },
}  # fmt: skip

ASK: dict[str, tuple[str, ...]] = {
    "de": ("Bitte senden Sie uns {list}{about}.",),
    "fr": ("Pourriez-vous nous envoyer {list}{about} ?",),
    "es": ("¿Podría enviarnos {list}{about}?",),
}
SLOTS = {
    "de": {
        "order_id": "die Bestellnummer",
        "item": "den Namen des Artikels",
        "problem": "eine Beschreibung des Problems",
        "photo": "ein Foto davon",
        "variant": "die gewünschte Größe oder Farbe",
        "address": "die vollständige neue Adresse",
    },
    "fr": {
        "order_id": "le numéro de commande",
        "item": "le nom de l'article",
        "problem": "une description du problème",
        "photo": "une photo",
        "variant": "la taille ou la couleur souhaitée",
        "address": "la nouvelle adresse complète",
    },
    "es": {
        "order_id": "el número de pedido",
        "item": "el nombre del artículo",
        "problem": "una descripción del problema",
        "photo": "una foto",
        "variant": "la talla o el color que desea",
        "address": "la nueva dirección completa",
    },
}
BOTH = {
    "de": "Eine Kollegin übernimmt beide Anliegen{about} und antwortet innerhalb eines Werktags.",
    "fr": "Une collègue s'occupe des deux demandes{about} et vous répond sous un jour ouvré.",
    "es": "Una compañera se ocupa de las dos peticiones{about} y responde en un día laborable.",
}
NEXT = {
    "de": " Ihr anderes Anliegen beantworten wir danach.",
    "fr": " Nous répondrons ensuite à votre autre demande.",
    "es": " Después responderemos a su otra petición.",
}
ABOUT = {"de": " zu Bestellung ", "fr": " pour la commande ", "es": " del pedido "}
