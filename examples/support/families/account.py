"""Money, accounts, products."""

from examples.support.families.family import Family

ACCOUNT = (
    Family("charge_twice", ("charge",), (
        "I was charged twice for {order}.",
        "You took the money two times. Please give one of them back.",
        "My card was debited twice for the {item}.",
    ), scenes=("coming", "ours", "placed")),
    Family("charge_sum", ("charge",), (
        "The sum on my bill for {order} is not what the page said.",
        "You charged me more than I agreed to for {order}.",
        "Why did you take more than the price of the {item}?",
    ), scenes=("coming", "ours")),
    Family("charge_statement", ("charge",), (
        "There are two lines from Larkfield on my statement and I only bought once, {order}.",
        "What is the second booking from you on the 19th? I know of one order only.",
        "My bank shows a debit by your company that matches nothing I bought.",
    ), scenes=("coming", "ours", "none")),
    Family("declined", ("declined",), (
        "My card gets refused at the checkout. Did you take any money?",
        "Payment failed three times when I tried to buy the {item}.",
        "Your shop says payment not possible. What should I do?",
    ), scenes=("none", "ours")),
    Family("invoice_plain", ("invoice",), (
        "I need an invoice for {order}.",
        "Where can I download the receipt for {order}?",
        "Please send me the bill for my last order, I need it for my taxes.",
        "There was no invoice in the parcel {order}.",
    ), scenes=("ours", "old", "coming")),
    Family("invoice_fix", ("invoice_fix",), (
        "The invoice for {order} has to be made out to my company. Can you change it?",
        "Our VAT number is missing on the bill for {order}.",
        "My name is spelt wrongly on the invoice of {order}, please issue a new one.",
    ), scenes=("ours", "coming")),
    Family("code_late", ("code",), (
        "I forgot to enter my code for ten percent when I ordered {order}. Can you take it off?",
        "The voucher did not work at the checkout, so please deduct it from {order} now.",
        "I have a discount code that I would like to use on an order I placed already.",
    ), scenes=("placed", "coming", "ours")),
    Family("code_expired", ("code",), (
        "My code ran out yesterday. Could you make it work again?",
        "The newsletter code says expired. That is unfair, please extend it.",
    ), scenes=("none", "ours")),
    Family("price_drop", ("code",), (
        "The {item} is on sale now and I bought it last week at the full price. Will you refund the difference?",
        "Another shop has the {item} cheaper. Do you match prices?",
        "You lowered the price right after I ordered {order}. I would like the difference back.",
    ), scenes=("coming", "ours")),
    Family("login_plain", ("login",), (
        "I cannot log in.",
        "I forgot my password.",
        "My password does not work any more, how do I get a new one?",
        "The login page keeps throwing me out.",
    ), scenes=("none", "ours")),
    Family("login_phone", ("login",), (
        "New phone, and now my account with you does not let me in.",
        "I have tried every combination that I know and your site still says no.",
        "The app asks me to sign in and then claims that the details are wrong.",
    ), scenes=("none", "coming")),
    Family("details", ("details",), (
        "How do I change the email address of my account?",
        "I have a new telephone number, please update it.",
        "I got married and my surname has changed. Can you change it in my account?",
    ), scenes=("none", "ours")),
    Family("newsletter", ("newsletter",), (
        "Please take me off your mailing list.",
        "Stop sending me newsletters.",
        "How do I unsubscribe from the weekly mail?",
    ), scenes=("none", "ours")),
    Family("data_delete", ("data",), (
        "Please delete my account and everything you have on me.",
        "Under the GDPR I ask for the erasure of my personal data.",
        "I want my profile gone for good.",
    ), scenes=("none", "old")),
    Family("data_copy", ("data",), (
        "Please send me a copy of all data you hold about me.",
        "I am making a subject access request.",
    ), scenes=("none", "old")),
    Family("fraud", ("charge",), (
        "Somebody ordered with my account and it was not me! {order}",
        "My card details were stolen and used in your shop.",
        "I received a confirmation for an order that I never placed. Someone is using my name.",
        "A stranger has changed the password of my account and is shopping with it.",
    ), says=("fraud",), scenes=("placed", "coming", "none")),
    Family("product_known", ("product",), (
        "{question}",
        "Quick question before I buy: {question}",
        "I am thinking about the {product}. {question}",
        "About the {product}: {question}",
    ), says=("known",), scenes=("none",), products="known"),
    Family("product_unknown", ("product",), (
        "{question}",
        "I am interested in the {product}. {question}",
        "Your page for the {product} does not say: {question}",
    ), scenes=("none",), products="unknown"),
    Family("product_plan", ("product",), (
        "We plan a trip in May and would take the {product} along. {question}",
        "Before I put the {product} on my wish list I wonder about one thing. {question}",
        "My brother swears by the {product}, but he did not know this either. {question}",
    ), says=("known",), scenes=("none",), products="known"),
    Family("product_which", ("product",), (
        "Is it waterproof?",
        "How much does it weigh?",
        "When is it back in stock?",
        "Can it go into the dishwasher?",
        "Does the one on your start page come with batteries?",
    ), scenes=("none",), products="none"),
    Family("complaint_staff", ("complaint",), (
        "Your colleague on the phone was rude to me yesterday.",
        "The driver threw the parcel over the fence and laughed. Nothing is broken, but this is no way to behave.",
        "I was on hold for fifty minutes and then the line went dead. That is no service.",
        "Nobody in your chat listens to what one says.",
    ), scenes=("none", "ours")),
    Family("business", ("business",), (
        "We run a youth hostel and would like an offer for sixty blankets.",
        "I write for a magazine and would like to talk to someone about your tents.",
        "Are you hiring for the warehouse?",
        "Do you have prices for resellers?",
    ), scenes=("none",)),
    Family("thanks", ("thanks",), (
        "Everything came in one piece, thank you very much!",
        "Just wanted to say that the {item} is great.",
        "Thanks for sorting it out so fast.",
    ), scenes=("ours",)),
)  # fmt: skip
