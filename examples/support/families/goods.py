"""When it is there: returns, exchanges, refunds, faults, wrong and missing things, the warranty."""

from examples.support.families.family import Family

GOODS = (
    Family("return_plain", ("return",), (
        "I would like to return the {item} from {order}.",
        "How do I send the {item} back?",
        "I want to return something from {order}.",
        "Please tell me how to return my order {order}.",
        "The {item} is going back. What do I need to do?",
    )),
    Family("return_dislike", ("return",), (
        "The {item} is not what I expected, I do not like it. Can it go back?",
        "Looks different from the pictures. I would like my money back for the {item}, {order}.",
        "I am not happy with the {item}. Nothing wrong with it, just not for me.",
        "It is nicer on your page than in my hands. Return please, {order}.",
    )),
    Family("return_size", ("return",), (
        "The {item} does not fit me and I do not want another size. How do I return it?",
        "Too big for my shelf, the {item} has to go back. Order {order}.",
        "Wrong size for us, we want to give the {item} back.",
    )),
    Family("return_late", ("return",), (
        "I know that I am a bit late, but can I still return the {item}?",
        "I was in hospital and missed the deadline for {order}. Will you take the {item} back?",
        "Surely you can make an exception for the {item}? It is unused.",
    ), scenes=("old", "ours")),
    Family("return_label", ("return",), (
        "I cannot find the return label for {order}.",
        "There was no return slip in the box with the {item}. Where do I get one?",
        "Where do I print a label to send back {order}?",
    )),
    Family("return_partner", ("return",), (
        "My husband already has a {item}, so this one is surplus. What is the way back for it?",
        "Two of us bought the same present. We would like to hand the {item} of {order} back to you.",
        "It turned out that nobody in the family wants what I bought from you.",
    )),
    Family("return_dear", ("return",), (
        "We do not need the three {item}s after all, all of them go back. Order {order}.",
        "I ordered {item} for the whole group and the trip is off. How do I return everything of {order}?",
    ), kinds=("dear",)),
    Family("return_used", ("return",), (
        "We used the {item} for two weekends and it is not our thing. I want to return it.",
        "The {item} has been on a trip already, but I would like to send it back. Order {order}.",
        "I washed and wore the {item} several times. Can I still give it back?",
    ), says=("used",), scenes=("ours", "ours", "old")),
    Family("return_final", ("return",), (
        "I would like to give back the {item}, it is still in its wrapping.",
        "The {item} of {order} is not for me. May I return it?",
        "Can the {item} go back? Never used.",
    ), kinds=("final",)),
    Family("about_returns", ("about_returns",), (
        "How long do I have to return something?",
        "What does a return cost?",
        "If I order now and do not like it, can I give it back?",
        "Can I return things I have used once? What are your rules for returns?",
    ), scenes=("none", "coming")),
    Family("exchange_plain", ("exchange",), (
        "I would like to exchange the {item} from {order} for {variant}.",
        "Can I swap the {item} for {variant}?",
        "Could you exchange the {item} for me?",
        "I need another size of what I ordered in {order}.",
        "Please change the {item} of order {order} to {variant}.",
    ), kinds=("variant",)),
    Family("exchange_colour", ("exchange",), (
        "The {item} is lovely but I would rather have {variant}. Can we swap?",
        "Is it possible to get the {item} as {variant} instead?",
        "The colour of the {item} does not suit us, can it be changed?",
    ), kinds=("variant",)),
    Family("exchange_final", ("exchange",), (
        "Can I swap the {item} for another size?",
        "I would prefer another colour of the {item}, order {order}.",
    ), kinds=("final",), scenes=("here", "ours")),
    Family("exchange_other", ("exchange",), (
        "Can I exchange the {item} for something else from your shop?",
        "I would like a different product instead of the {item}, order {order}.",
    ), says=("other_product",)),
    Family("exchange_story", ("exchange",), (
        "After one walk around the house it was clear that the {item} should have been {variant}. Would you trade?",
        "I should have listened to my sister, she said take {variant}. Can the {item} of {order} be switched?",
        "I picked badly. Same {item}, please, but another version of it.",
    ), kinds=("variant",)),
    Family("refund_plain", ("refund",), (
        "Where is my refund for {order}?",
        "I sent everything back and have no money yet. Order {order}.",
        "When do I get my money for the {item}?",
        "Has my refund been sent?",
    )),
    Family("refund_long", ("refund",), (
        "I have been waiting for my refund for {order} for what feels like forever.",
        "You got the {item} back and kept the money?",
        "Still nothing on my account for {order}. How long does this take?",
    )),
    Family("refund_again", ("refund",), (
        "Third time asking: where is the money for {order}?",
        "I already wrote twice about my refund for the {item} and nobody cares.",
    ), says=("again",)),
    Family("refund_bank", ("refund",), (
        "I checked my bank again this morning and there is no credit from Larkfield, {order}.",
        "My statement does not show what you owe me for the {item}.",
        "The reimbursement that was announced has not turned up on my credit card.",
    )),
    Family("broken_plain", ("broken",), (
        "The {item} arrived broken: {problem}. Order {order}.",
        "My {item} is faulty, {problem}.",
        "The {item} from {order} is broken.",
        "Something is wrong with the {item}.",
        "I unpacked the {item} and {problem}. What now?",
    ), scenes=("here", "ours")),
    Family("broken_box", ("broken",), (
        "The box of {order} was squashed and the {item} took damage: {problem}.",
        "The parcel looked as if someone had sat on it. {problem}, the {item} is useless like this.",
        "Parcel wet, contents damaged. {order}",
    ), scenes=("here", "ours")),
    Family("broken_money", ("broken",), (
        "The {item} is defective, {problem}. I want my money back, not another one.",
        "I do not want a replacement for the {item}, I want a refund. {problem}",
        "Refund please: the {item} in {order} is bad, {problem}.",
    ), scenes=("here", "ours")),
    Family("broken_unboxing", ("broken",), (
        "We looked forward to the {item} all week, and then this: {problem}.",
        "Out of the box and straight into disappointment, {problem}. It is the {item}, order {order}.",
        "Not how I imagined my new {item}. It is simply not in order.",
    ), scenes=("here", "ours")),
    Family("broken_misuse", ("broken",), (
        "The {item} broke because {misuse}. Can I get a new one?",
        "My own doing, {misuse}, but could you replace the {item} from {order}?",
        "{misuse}, and now the {item} is broken. It is only a few weeks old.",
    ), scenes=("ours", "old")),
    Family("warranty_plain", ("broken",), (
        "After some time the {item} gave up: {problem}. Is that covered?",
        "The {item} has stopped working properly, {problem}. Order {order}.",
        "I have a warranty case: {item}, {problem}.",
        "The {item} from {order} broke. It is still under warranty, is it not?",
    ), scenes=("old", "old", "older")),
    Family("warranty_used", ("broken",), (
        "We used the {item} a lot and now {problem}. Do you repair it?",
        "I have had the {item} for a good while, {problem}. What can you do?",
        "My old {item} needs a repair, {problem}.",
    ), scenes=("old", "older")),
    Family("warranty_season", ("broken",), (
        "The {item} made it through one season, then {problem}.",
        "Got the {item} out of the cellar for this year and {problem}. Number is {order}.",
        "First it was great, by now {problem}. That should not happen to a {item}, should it?",
    ), scenes=("old", "older")),
    Family("warranty_shop", ("broken",), (
        "A repair shop told me to ask the seller about the {item} first: {problem}. I bought it under {order}.",
        "Does the guarantee of the {item} still run? {problem}",
    ), scenes=("old", "older")),
    Family("wrong_plain", ("wrong",), (
        "You sent me the wrong thing. I ordered the {item}, {order}.",
        "Instead of the {item} there was something else in the box.",
        "This is not what I ordered in {order}.",
        "I got somebody else's things, my {item} is not there.",
    )),
    Family("wrong_size", ("wrong",), (
        "The {item} in the parcel has another size than on the invoice. {order}",
        "I ordered the {item} and received a different colour. Please send the right one.",
    )),
    Family("lacking_plain", ("lacking",), (
        "The {item} is missing from {order}.",
        "My parcel came, but the {item} was not inside.",
        "Something is missing from my order {order}.",
        "Not everything was in the box, the {item} is lacking.",
    )),
    Family("lacking_count", ("lacking",), (
        "Counted twice: the delivery note of {order} lists the {item}, the carton does not hold one.",
        "I have everything from {order} on the table except the {item}.",
        "One thing fewer in the carton than on the paper. What now?",
    )),
)  # fmt: skip
