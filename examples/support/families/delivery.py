"""Before and on the way: where it is, what did not come, cancelling, addresses."""

from examples.support.families.family import Family

DELIVERY = (
    Family("where_plain", ("where",), (
        "Where is my order {order}?",
        "Can you tell me where {order} is at the moment?",
        "What is the status of order {order}, please?",
        "I would like to know how far along my order is.",
        "Any news on my {item}?",
        "Is my parcel with the {item} moving at all?",
    )),
    Family("where_when", ("where",), (
        "When will {order} get here?",
        "Which day should I expect the {item}?",
        "I need to plan my week. When does my order arrive?",
        "Do I need to be at home on a certain day for {order}?",
        "How much longer for the {item} I ordered?",
    )),
    Family("where_tracking", ("where",), (
        "The tracking page for {order} has not changed since I looked last.",
        "I never got a tracking link for {order}. Can you look it up?",
        "Tracking says 'announced' and nothing else, order {order}. What does that mean?",
        "The link in your mail leads to an empty page. Has the {item} left yet?",
    )),
    Family("where_soon", ("where",), (
        "We leave the day after tomorrow and I need the {item} for the trip. Order {order}. Will it make it?",
        "It is for a birthday on Thursday! Where is order {order}?",
        "My trip starts in two days. Is the {item} going to be here?",
    ), says=("soon",), scenes=("placed", "packed", "coming")),
    Family("where_gift", ("where",), (
        "I sent the {item} to my aunt as a surprise and cannot ask her. Has order {order} reached her street yet?",
        "The {item} is a present and I want to know how it is getting on, {order}.",
        "A present is on its way from you to a friend. Could you check how it is coming along?",
    ), scenes=("placed", "packed", "coming")),
    Family("where_again", ("where",), (
        "This is the third time that I ask where {order} is. Nobody answers me.",
        "I have written on Monday, on Thursday and now again: where is the {item}?",
        "Fourth mail about {order}. I am losing patience.",
    ), says=("again",), scenes=("late", "lost", "coming")),
    Family("late_plain", ("where",), (
        "Order {order} should have been here already. What is going on?",
        "You gave me a date for {order} and it has passed.",
        "The {item} is overdue. Please look into it.",
        "My order is late. Is it still coming?",
    ), scenes=("late", "lost")),
    Family("late_angry", ("where",), (
        "This is ridiculous. {order} is late and not a word from you.",
        "I paid good money and I am still waiting for the {item}!!",
        "Worst shop ever, where is my stuff? {order}",
        "Are you even sending it?? The {item} was due ages ago.",
    ), scenes=("late", "lost")),
    Family("not_here_carrier", ("not_here",), (
        "The carrier says that {order} was delivered, but I have nothing.",
        "According to the tracking my {item} is here. It is not.",
        "Status delivered, letterbox empty. Order {order}.",
        "It says 'handed to resident' for my order. I am the only resident and I have no parcel.",
    ), scenes=("here", "missing")),
    Family("not_here_neighbour", ("not_here",), (
        "I asked all the neighbours and nobody took in {order}. It is supposed to be delivered.",
        "No card in the letterbox, no parcel with the neighbours. Where did you leave the {item}?",
        "Your driver ticked off {order} as delivered. I was at home all day and nobody rang.",
    ), scenes=("here", "missing")),
    Family("not_here_photo", ("not_here",), (
        "The proof of delivery for {order} shows a door that is not mine.",
        "There is a picture in the app of my {item} in front of a blue door. We have a brown one.",
        "On the delivery photo one sees a hallway I have never been in. {order}.",
    ), scenes=("here", "missing")),
    Family("not_here_stolen", ("not_here",), (
        "I think that somebody took the parcel {order} from the porch. It was marked delivered and there was nothing.",
        "The {item} was left outside and was gone when I came home.",
    ), scenes=("here", "missing")),
    Family("cancel_plain", ("cancel",), (
        "Please cancel {order}.",
        "I want to cancel my order, number {order}.",
        "Cancel the order with the {item}, I do not need it any more.",
        "Can I still stop {order}?",
        "Kindly cancel my order.",
    )),
    Family("cancel_mistake", ("cancel",), (
        "I pressed the button by mistake. {order} should not exist, please stop it.",
        "My daughter ordered the {item} with my tablet. Please do not send it.",
        "I ordered the same thing twice, {order} is one too many. Please take it out.",
        "Oops, wrong delivery country when I ordered {order}. I would rather cancel and start again.",
    )),
    Family("cancel_part", ("cancel",), (
        "Please take the {item} out of {order} and send the rest.",
        "From order {order} I do not want the {item} any more, everything else yes.",
        "Can you drop the {item} from my order?",
    ), scenes=("placed", "placed", "packed")),
    Family("cancel_slow", ("cancel",), (
        "It takes too long, I bought the {item} somewhere else. Please cancel {order}.",
        "I am done waiting. Cancel {order} and give me my money back.",
    ), scenes=("placed", "packed", "coming", "late")),
    Family("cancel_dear", ("cancel",), (
        "Our group trip is off. Please cancel {order} with the {item}s.",
        "We will not need the {item} any more, none of them. Cancel it, please.",
    ), kinds=("dear",)),
    Family("cancel_cheaper", ("cancel",), (
        "I saw the {item} for ten euros less in town, so I would like to step back from {order}.",
        "Found it cheaper. No need to send {order}.",
        "Changed our minds about the {item} after a look at our budget, could the order be undone?",
    )),
    Family("address_plain", ("address",), (
        "Please send {order} to another address: {address}.",
        "Change of delivery address for order {order}: {address}",
        "I gave the wrong address for the {item}. The right one is {address}.",
        "Can I change the delivery address of {order}?",
        "I need to change where my order goes.",
    )),
    Family("address_work", ("address",), (
        "Nobody is home during the day. Can {order} go to my office instead, {address}?",
        "Please deliver the {item} to my workplace.",
        "Could you send {order} to my work address?",
    )),
    Family("address_typo", ("address",), (
        "I mistyped my street in {order}. It should read {address}.",
        "There is a mistake in the house number of my order {order}. Please correct it.",
        "The postcode in {order} is wrong, can it be fixed?",
    )),
    Family("address_moved", ("address",), (
        "We have moved since I placed {order}. From now on we live at {address}.",
        "By the time the {item} comes we will be in our new flat: {address}.",
        "I forgot that we are moving on Friday. {order} would go to the old flat.",
    )),
    Family("about_delivery", ("about_delivery",), (
        "How long does delivery usually take?",
        "What do you charge for shipping?",
        "Do you deliver to Norway?",
        "From which amount is delivery free?",
        "Hello, do you ship to Switzerland and how long would it take?",
    ), scenes=("none", "ours")),
)  # fmt: skip
