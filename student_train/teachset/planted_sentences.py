"""Sentences and JSON that personal data are planted in, to measure the scrubber by.

`HELD_OUT` was written, and committed, before the scrubber was. Nobody looked at what is missed in it; its totals by
kind were looked at while the scrubber was made, and identity numbers are looked for more widely since. `TUNED` is what
the scrubber was made with. Both are reported, each for itself, and both have one author, who wrote the scrubber, too:
`benchmarks/scrub.py` measures on texts of others besides. `{}` is the value. In JSON it stands in a string; `arguments`
are what a model sends to a tool, `results` what comes back.
"""

from msgspec import Struct


class Sentences(Struct, frozen=True):
    """By kind. `prose`: for system prompts, messages of users and answers."""

    prose: dict[str, tuple[str, ...]]
    arguments: dict[str, tuple[str, ...]]
    results: dict[str, tuple[str, ...]]


KINDS = ("name", "email", "phone", "card", "iban", "address", "national_id", "birth_date", "ip", "secret")

HELD_OUT = Sentences(
    prose={
        "name": (
            "For the record, the person on the account is called {}.",
            "Could you make the invoice out to {} instead of me?",
            "My name's {} and I ordered last week.",
            "I already spoke to {} from your team about this.",
            "Thanks a lot for your help\n{}",
            "Hello {}, we have looked into it for you.",
            "Der Vertrag läuft auf {}.",
            "Bonjour, je suis {} et je n'ai rien reçu.",
            "Escalate anything legal to Mr {} before you reply.",
            "Hi, {} here, any news?",
            "The parcel was signed for by {}, whom nobody here knows.",
            "Warm regards,\n{}\nHead of Purchasing",
        ),
        "email": (
            "Write to {} if you need anything else.",
            "i changed my mail to {} last month",
            "We have sent the label to {}; please check your spam folder.",
            "Meine E-Mail-Adresse lautet {}, nicht die alte.",
            "cc: {}",
            "The account ({}) was locked after three attempts.",
        ),
        "phone": (
            "Give me a ring at {} after five, please.",
            "You'll find me under {}.",
            "phone number's {} btw",
            "Meine Nummer ist die {}.",
            "Mon numéro de téléphone est le {}.",
            "We tried to reach you on {} yesterday but nobody answered.",
            "Mobile / WhatsApp: {}",
        ),
        "card": (
            "The card I used is {} and it expires next year.",
            "You charged {} twice!",
            "I paid with my Visa ({}).",
            "Meine Kreditkartennummer: {}",
            "We will return the amount to the card {} within five days.",
            "cc no. {}",
        ),
        "iban": (
            "Please transfer the refund to {}.",
            "Meine Bankverbindung: {}",
            "The money should go to this account: {}, thank you.",
            "Voici mon RIB : {}",
            "We have the following IBAN on file for you: {}.",
        ),
        "address": (
            "We moved, so please send it to {}.",
            "The driver left it at the wrong house, ours is {}.",
            "Delivery address: {}",
            "I live at {} and was at home all day.",
            "Unsere neue Anschrift: {}",
            "Please confirm that {} is still right before it is shipped.",
            "Returns go to our warehouse manager at home, {}, until March.",
        ),
        "national_id": (
            "My social security number is {}, in case you must verify me.",
            "ID number for the customs form: {}",
            "National insurance / tax id: {}",
            "For customs they want my personal identification number, it's {}.",
            "Mein Ausweis: Identifikationsnummer {}",
        ),
        "birth_date": (
            "I was born on {}.",
            "Date of birth {}",
            "My birthday is {}, so I am well over eighteen.",
            "Geburtsdatum: {}",
            "To verify: DOB {}, postcode on file.",
            "The policyholder, born {}, has asked for a copy.",
        ),
        "ip": (
            "The login came from {}, which is not me.",
            "Your firewall blocks my IP {}.",
            "Host {} does not answer to ping.",
            "We saw a request from {} at that time.",
            "my router says {}",
        ),
        "secret": (
            "The password is {} if you want to try yourself.",
            "Use the API key {} for the sandbox.",
            "export TOKEN={}",
            "Authorization: Bearer {}",
            "mein Passwort lautet {}",
            "I logged in with the password {} and it still fails.",
        ),
    },
    arguments={
        "name": (
            '{"full_name": "{}", "reason": "refund"}',
            '{"customer": {"name": "{}"}, "priority": "high"}',
            '{"recipient": "{}", "amount": 20}',
            '{"query": "orders of {} in May"}',
        ),
        "email": ('{"email": "{}"}', '{"to": ["{}"], "subject": "Your return"}', '{"filter": "mail = \'{}\'"}'),
        "phone": (
            '{"phone_number": "{}"}',
            '{"contact": {"mobile": "{}"}}',
            '{"message": "Call the customer back: {}"}',
        ),
        "card": (
            '{"card": "{}", "amount": 12.5}',
            '{"payment": {"pan": "{}"}}',
            '{"note": "customer gave credit card {}"}',
        ),
        "iban": ('{"iban": "{}"}', '{"payout": {"account": "{}"}}', '{"text": "pay out to {}"}'),
        "address": (
            '{"new_address": "{}"}',
            '{"ship_to": {"street": "{}", "country": "XX"}}',
            '{"note": "moved to {}"}',
            '{"deliveryAddress": "{}"}',
        ),
        "national_id": ('{"ssn": "{}"}', '{"national_id": "{}"}', '{"taxId": "{}"}'),
        "birth_date": ('{"date_of_birth": "{}"}', '{"birthday": "{}"}', '{"customer": {"dob": "{}"}}'),
        "ip": ('{"ip": "{}"}', '{"client_ip": "{}", "days": 7}', '{"query": "source_ip:{}"}'),
        "secret": ('{"password": "{}"}', '{"headers": {"Authorization": "Bearer {}"}}', '{"api_key": "{}"}'),
    },
    results={
        "name": (
            '{"id": 71, "customer_name": "{}", "status": "shipped"}',
            '{"user": {"displayName": "{}", "tier": "gold"}}',
            '[{"order": 5512, "billing": {"contact_name": "{}"}}]',
            '{"log": ["opened", "assigned to {}"], "open": true}',
        ),
        "email": (
            '{"user": {"email": "{}", "verified": true}}',
            '{"contacts": ["{}"]}',
            '{"history": "2026-03-01 mail sent to {}"}',
        ),
        "phone": (
            '{"profile": {"phone": "{}"}}',
            '{"tel": "{}", "lang": "en"}',
            '{"notes": "prefers calls, phone {}, not before nine"}',
        ),
        "card": (
            '{"payment_method": {"type": "card", "number": "{}"}}',
            '{"last_payment": "card {} declined"}',
            '{"credit_card": "{}"}',
        ),
        "iban": (
            '{"bank": {"iban": "{}", "bic": "XXXXXXXX"}}',
            '{"sepa_mandate": "{}"}',
            '{"comment": "refund went to {}"}',
        ),
        "address": (
            '{"shipping_address": "{}"}',
            '{"customer": {"address_line_1": "{}", "since": 2019}}',
            '{"event": "delivered", "location": "{}"}',
        ),
        "national_id": ('{"kyc": {"national_id": "{}", "ok": true}}', '{"ssn": "{}"}', '{"tax_number": "{}"}'),
        "birth_date": (
            '{"profile": {"birthDate": "{}"}}',
            '{"dob": "{}", "adult": true}',
            '{"kyc": "born {}, verified"}',
        ),
        "ip": (
            '{"last_login_ip": "{}"}',
            '{"sessions": [{"addr": "{}", "ua": "Firefox"}]}',
            '{"log": "GET /orders from {}"}',
        ),
        "secret": (
            '{"temporary_password": "{}"}',
            '{"env": "API_KEY={}"}',
            '{"access_token": "{}", "token_type": "bearer"}',
        ),
    },
)

TUNED = Sentences(
    prose={
        "name": (
            "My name is {}.",
            "I'm {} and I have a question.",
            "Please ask for {} at the desk.",
            "Kind regards,\n{}",
            "Best\n\n{}",
            "Dear {}, thank you for your message.",
            "Hi {}!",
            "Customer: {}",
            "The recipient was Mrs {}, it seems.",
            "Ich heiße {} und warte noch.",
            "Mit freundlichen Grüßen\n{}",
            "Je m'appelle {}.",
            "Me llamo {}, gracias.",
            "My wife {} ordered it.",
            "Thanks, {}",
            "This is {} again.",
            "Your contact is {} in the second floor.",
        ),
        "email": (
            "My e-mail is {}.",
            "Reach me: {}",
            "Please forward it to {} today.",
            "Antworten Sie bitte an {}.",
            "<{}> wrote:",
        ),
        "phone": (
            "Call me on {}.",
            "My number is {} if anything comes up.",
            "Tel.: {}",
            "Telefonnummer {}",
            "You can text {} any time.",
        ),
        "card": (
            "I paid with card {}.",
            "Card number: {}",
            "The credit card {} was charged.",
            "Karte {} wurde belastet.",
        ),
        "iban": ("My IBAN is {}.", "IBAN: {}", "Please pay to {} instead.", "Kontonummer {}"),
        "address": (
            "My address is {}.",
            "Please ship it to {}.",
            "Address: {}",
            "We live at {}.",
            "Meine Adresse: {}",
            "The parcel for {} came back.",
        ),
        "national_id": (
            "My SSN is {}.",
            "National ID: {}",
            "Tax id {}",
            "Personal identity number: {}.",
        ),
        "birth_date": ("Born on {}.", "Date of birth: {}", "DOB {}", "geboren am {}", "Her birthday is on {}."),
        "ip": ("My IP is {}.", "Requests from {} fail.", "IP address: {}", "ping {} works"),
        "secret": (
            "My password: {}",
            "My password is {}, please reset it.",
            "API key: {}",
            "The token is {}.",
            "Passwort: {}",
            "login with secret={}",
        ),
    },
    arguments={
        "name": ('{"name": "{}", "email_known": true}', '{"first_name": "{}"}', '{"contact": "{}"}'),
        "email": ('{"mail": "{}"}', '{"note": "write to {}"}'),
        "phone": ('{"phone": "{}"}', '{"note": "call {}"}'),
        "card": ('{"card_number": "{}"}', '{"note": "card {}"}'),
        "iban": ('{"iban": "{}"}', '{"target": "{}"}'),
        "address": ('{"address": "{}"}', '{"address1": "{}", "city": "Ghent"}', '{"note": "ship to {}"}'),
        "national_id": ('{"ssn": "{}"}', '{"passport_number": "{}"}'),
        "birth_date": ('{"dob": "{}"}', '{"note": "born on {}"}'),
        "ip": ('{"ip_address": "{}"}', '{"host": "{}"}'),
        "secret": ('{"token": "{}"}', '{"password": "{}"}', '{"note": "password is {}"}'),
    },
    results={
        "name": ('{"customer": {"name": "{}"}}', '{"recipient_name": "{}"}', '{"note": "spoke to {} today"}'),
        "email": ('{"email": "{}"}', '[{"from": "{}"}]'),
        "phone": ('{"mobile": "{}"}', '{"phones": ["{}"]}'),
        "card": ('{"pan": "{}"}', '{"note": "paid with card {}"}'),
        "iban": ('{"account_number": "{}"}', '{"iban": "{}"}'),
        "address": ('{"billing_address": "{}"}', '{"address": {"street": "{}"}}', '{"note": "lives at {}"}'),
        "national_id": ('{"tax_id": "{}"}', '{"nationalId": "{}"}'),
        "birth_date": ('{"birthday": "{}"}', '{"date_of_birth": "{}"}'),
        "ip": ('{"ip": "{}"}', '{"event": "login from {}"}'),
        "secret": ('{"api_key": "{}"}', '{"secret": "{}"}'),
    },
)
