"""Words that say what stands beside them: the names of fields, and what begins a name or an address.

Kept apart from the code so that adding a language is adding words.
"""

# ruff: noqa: E501, SIM905 - tables of words

import re
from pathlib import Path

# Fields, as JSON has them or as people write them before a colon; in lower case, words joined by `_`.
_FIELDS = {
    "name": "full_name fullname first_name firstname given_name forename last_name lastname surname family_name "
    "middle_name maiden_name customer_name client_name contact_name recipient_name cardholder cardholder_name "
    "card_holder account_holder account_holder_name holder_name account_name addressee beneficiary payee sender_name display_name "
    "passenger_name guest_name patient_name employee_name agent_name owner_name user_full_name signed_by name_on_card "
    "billing_name shipping_name buyer_name caller_name vorname nachname familienname vor_und_nachname kontoinhaber "
    "empfänger prénom prenom nom nom_complet nombre nombre_completo apellido apellidos titular nome_completo cognome "
    "sobrenome naam voornaam achternaam imię nazwisko imię_i_nazwisko imie nazwisko namn förnamn efternamn nimi",
    "maybe_name": "name names user customer client recipient sender assignee assigned_to contact contact_person author by from to "
    "person owner agent employee manager caller guest patient passenger driver attn attention nome kunde kundin "
    "ansprechpartner client_nom cliente klant signature signed participant participants attendees traveller travelers "
    "requester reporter created_by updated_by handled_by speaker member holder tenant_name",
    "address": "address address_1 address_2 address_line address_line_1 address_line_2 street street_address "
    "street_name street_1 ship_to bill_to deliver_to anschrift adresse straße strasse wohnort lieferadresse "
    "rechnungsadresse dirección direccion domicilio calle indirizzo via adres woonadres endereço endereco rua adress "
    "zip zip_code zipcode postcode post_code postal_code plz code_postal código_postal codigo_postal cap cep",
    "place": "city town ort stadt ville ciudad città citta cidade stad county suburb locality",
    "phone": "tel telephone phone phone_number mobile mobile_number cell cellphone cell_phone fax whatsapp msisdn "
    "telefon telefonnummer handy handynummer mobil téléphone telefono teléfono móvil celular cellulare telefoon "
    "telefone telemóvel landline callback callback_number contact_number",
    "card": "card card_number cardnumber credit_card credit_card_number debit_card pan cc cc_number kreditkarte "
    "kartennummer carte_bancaire tarjeta numero_carta",
    "iban": "iban account_number bank_account bank_account_number kontonummer konto bankverbindung rib routing_number",
    "national_id": "ssn social_security social_security_number national_id national_id_number nationalid tax_id taxid "
    "tax_number tin nif nie dni nino nir passport passport_number passport_no driver_license drivers_license "
    "driving_licence license_number personal_id personal_number personnummer id_card id_card_number identity_number "
    "national_insurance national_insurance_number nhs_number steuer_id steuernummer steueridentifikationsnummer "
    "codice_fiscale cpf bsn pesel sin aadhaar ausweisnummer numéro_de_sécurité_sociale hetu itin",
    "birth_date": "dob date_of_birth birth_date birthdate birthday born birth d_o_b geburtsdatum geburtstag geboren "
    "date_de_naissance né_le née_le fecha_de_nacimiento data_di_nascita geboortedatum data_de_nascimento "
    "data_urodzenia födelsedatum",
    "ip": "ip ip_address client_ip source_ip src_ip remote_addr last_login_ip ip_addr ipaddress",
    "secret": "password passwd pwd pw passphrase passcode pin pin_code cvv cvc cvv2 otp secret client_secret "
    "secret_key api_key apikey api_token token access_token refresh_token id_token auth_token session_token bearer "
    "authorization x_api_key private_key credentials passwort kennwort mot_de_passe contraseña contrasena "
    "wachtwoord senha hasło lösenord security_code access_key signing_key webhook_secret",
    "user": "username user_name login login_name handle nickname screen_name benutzername",
}  # fmt: skip
_KIND_OF = {field: kind for kind, fields in _FIELDS.items() for field in fields.split()}

# A field whose last word is one of these is of that kind whatever stands before: `temporary_password`.
_LAST = {
    **dict.fromkeys(("password", "passwd", "passphrase", "secret", "passwort", "pwd"), "secret"),
    **dict.fromkeys(("phone", "telephone", "mobile", "fax", "cellphone"), "phone"),
    **dict.fromkeys(("street", "zip", "zipcode", "postcode", "anschrift", "lieferadresse"), "address"),
    **dict.fromkeys(("ssn", "passport"), "national_id"),
    **dict.fromkeys(("dob", "birthdate", "birthday"), "birth_date"),
    **dict.fromkeys(("firstname", "lastname", "surname"), "name"),
    **dict.fromkeys(("iban",), "iban"),
    **dict.fromkeys(("ip",), "ip"),
}
_LAST_TWO = {
    "api_key": "secret", "access_token": "secret", "auth_token": "secret", "access_key": "secret", "secret_key": "secret",
    "phone_number": "phone", "mobile_number": "phone", "card_number": "card", "credit_card": "card",
    "account_number": "iban", "tax_id": "national_id", "national_id": "national_id", "birth_date": "birth_date",
    "of_birth": "birth_date", "first_name": "name", "last_name": "name", "full_name": "name", "zip_code": "address",
    "postal_code": "address", "family_name": "name", "given_name": "name", "ip_address": "ip",
}  # fmt: skip
_NO_STREET = frozenset("email mail e ip mac web url wallet host server memory bitcoin crypto".split())

# Whose `name` is a person's, and what a person's record has beside the name.
PERSONS = frozenset(
    "customer user client contact recipient person sender profile guest patient employee agent passenger owner member "
    "buyer seller payer payee holder cardholder driver traveler traveller student teacher author account_holder "
    "billing shipping participant attendee manager kunde cliente".split()
)
BESIDE_PERSONS = frozenset(
    "email phone phone_number mobile address dob date_of_birth birth_date zip postcode street first_name last_name "
    "surname ssn gender age username".split()
)
BESIDE_THINGS = frozenset(
    "sku price qty quantity product_id item_id options variants category model brand unit_price stock currency "
    "parameters description type version url size color colour weight code".split()
)
THINGS = frozenset(
    "items item products product lines line_items order_items goods articles cart catalogue catalog tools functions".split()
)
BESIDE_PLACES = frozenset(
    "zip zip_code postcode postal_code plz street address address1 address_1 address_line_1 house_number".split()
)

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|[0-9]+")


def field(name: str) -> str:
    """`deliveryAddress` and `Delivery address` are `delivery_address`."""
    return "_".join(_WORDS.findall(name)).lower()


def kind_of(name: str) -> str | None:
    """What is in a field of that name: a kind; `maybe_name` or `place`, which depend on what is beside; or None."""
    key = field(name)
    if (kind := _KIND_OF.get(key)) is not None:
        return kind
    words = key.split("_")
    if (kind := _LAST_TWO.get("_".join(words[-2:]))) is not None or (kind := _LAST.get(words[-1])) is not None:
        return kind
    if "address" in words and not _NO_STREET & set(words):
        return "address"
    if words[-1] == "name" and PERSONS & set(words):
        return "name"
    return "maybe_name" if words[-1] in PERSONS else None


# Capitalised words that are no names, and what is no name in lower case either.
NOT_NAMES = frozenset(
    """a about after again all also always am an and any anyone are as at be because been before best but by can could
    did do does done each either else even ever every everyone everybody folks for from get go going good great guys had has have
    he hello her here hey hi him his how i if in into is it its just know last let like may maybe me more most my never
    new no none not nothing now of off on once one only or our out over please quite re really said same say see she
    should since so some someone soon sorry still such sure team thank thanks that the their them then there these they
    this those though to today tomorrow too under until up us very was we well were what when where which while who why
    will with without would yes yesterday yet you your yours greetings morning afternoon evening night week month
    year monday tuesday wednesday thursday friday saturday sunday january february march april june july august
    september october november december order orders item items product products account invoice parcel package
    delivery shipping shipment refund return returns exchange customer customers support service services help desk
    sales billing sir madam ma'am shop store company inc ltd gmbh llc corp website online number address email e-mail
    phone mobile name names date regards sincerely cheers respectfully kindly note ps subject re fwd fw from sent cc bcc
    unknown none null n/a na yes true false test anonymous admin system assistant user human ai bot chatgpt agent
    manager director head department office purchasing chief officer engineer assistant operations finance marketing
    visa mastercard paypal amex klarna dhl ups fedex hermes dpd gls amazon google apple microsoft
    english german french spanish italian dutch polish portuguese american british europe germany france spain italy
    leute zusammen hallo guten morgen tag abend liebe lieber liebes sehr geehrte geehrter damen herren herr frau und oder der die das
    ein eine mit für ich wir sie ihr mein meine bitte danke vielen dank grüße grüßen gruß freundlichen freundliche beste
    viele bestellung lieferung kundenservice kundendienst bonjour bonsoir salut cher chère madame monsieur mesdames
    messieurs je nous vous merci cordialement commande livraison service client hola buenos buenas días tardes noches
    estimado estimada estimados señor señora señores gracias saludos un una el la los las pedido buongiorno salve ciao
    gentile caro cara spettabile grazie cordiali saluti ordine olá bom dia boa tarde caro prezado prezada
    obrigado obrigada beste geachte hoi dag bedankt groet groeten vriendelijke met bestelling hej hallå tack dzień dobry
    cześć pozdrawiam szanowni państwo dziękuję confidential urgent important warning error json sku id api url http https
    """.split()
)
"""In lower case."""

PARTS_THAT_SAY_NOTHING = NOT_NAMES | frozenset(
    "van von der den del della di da dos das de du la le al el bin ibn ter ten zu mr mrs ms miss dr prof sr jr sra dott "
    "ing univ mark grace hope art rich young long price cash page case small white black brown green king rose joy "
    "summer winter spring autumn love major church street hill wood field rock stone bush cook baker may april june "
    "august frank bill pat jack penny dawn sky star ward love power banks waters fields woods hunter".split()
)
"""A part of a name that is one of these is masked with the whole name only: it is too common a word."""

GIVEN_NAMES = frozenset((Path(__file__).parent / "given_names.txt").read_text().split()) - NOT_NAMES
"""In lower case: the given names of the 1990 census of the United States (Bureau of the Census, public domain), without
those that are words of English, months, places, or shorter than three letters: 4839 names."""

TITLES = (
    r"Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Madam|Herrn?|Frau|Mme|Mlle|Madame|Monsieur|Mademoiselle|Señora?|Sra?|Don|Doña|"
    r"Signora?|Sig|Sig\.ra|Dra|Dott|Dhr|Mevr|Mevrouw|Meneer|Senhora?|Srta|[Pp]ani?"
)
