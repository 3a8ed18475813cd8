"""What a request is about, as far as words tell: topics that are regulated or delicate, events in a customer's life,
and what else has words of its own: dissatisfaction, code, maths.

Each has strong terms, one of which is enough, and weak ones, of which it takes two: a bank may be a river's, and a
patient is not always ill. The lists are English, self-harm also German, French, Spanish and Italian: for what a product
is about and for other languages a pack lists words of its own (`mentions`). A lexicon knows words and not what is meant
by them; see docs/risk.md for how often it errs.
"""

from router_policies.risk.words import Lexicons

_TOPICS = {
    "money": (
        """loan, mortgage, credit card, debit card, bank account, savings account, interest rate, invest,
        investing, investment, investor, investment advice, stock market, share price, bitcoin, cryptocurrency,
        crypto, ethereum, portfolio allocation, tax return, tax advice, tax evasion, income tax, capital gains,
        bankruptcy, bankrupt, foreclosure, pension, retirement savings, 401k, roth ira, overdraft, wire
        transfer, bank transfer, direct debit, payday, credit score, refinance, apr, annuity, insurance claim,
        insurance policy, hedge fund, mutual fund, index fund, etf, dividend, money laundering, forex, iban,
        exchange rate, top up, cash withdrawal, atm, pin, bank statement, my card, my account, new card,
        physical card, virtual card, disposable card, my payment, my transfer, a transfer, the transfer, my
        money, topped up, topup, topping up, top it up, my funds, apple pay, google pay, cash machine, standing
        order, cheque, contactless""",
        """bank, money, transfer, account, card, payment, balance, fee, refund, charge, credit, debit, currency,
        euro, dollar, pound, cash, salary, debt, tax, insurance, fund, stock, bond, share, budget, price, rate,
        withdraw, withdrawal, deposit, savings, interest, invoice, statement, transaction, lend, borrow,
        finance, financial, retire, retirement""",
    ),
    "health": (
        """diagnosis, diagnose, diagnosed, chemotherapy, antibiotic, antidepressant, insulin, overdose, ibuprofen,
        paracetamol, acetaminophen, aspirin, blood pressure, chest pain, heart attack, stroke symptoms, cancer,
        tumor, tumour, diabetes, diabetic, miscarriage, pregnant, pregnancy, abortion, side effect, dosage,
        prescription, vaccine, vaccination, symptom, seizure, epilepsy, asthma, hiv, std, sti, medication,
        allergic reaction, anaphylaxis, schizophrenia, bipolar disorder, psychiatrist, physician, surgery,
        warfarin, xanax, adderall, opioid, fentanyl, oxycodone, covid, biopsy, rash, migraine, stool sample""",
        """doctor, medicine, medical, pain, fever, dose, mg, drug, pill, tablet, patient, disease, illness, sick,
        hospital, nurse, clinic, treatment, therapy, therapist, infection, virus, bleeding, blood, nausea,
        headache, depression, anxiety, vomiting, dizzy, swollen, wound, health, cough, breathing, injury""",
    ),
    "law": (
        """lawyer, attorney, solicitor, lawsuit, sue, suing, sued, legal advice, legal action, class action, court
        order, restraining order, custody, divorce, subpoena, plaintiff, defendant, probation, parole, felony,
        misdemeanor, misdemeanour, eviction, evict, landlord, statute of limitations, small claims, power of
        attorney, breach of contract, wrongful termination, unfair dismissal, visa application, deportation,
        asylum, immigration status, arrested, indictment, gdpr, copyright infringement, trademark infringement,
        is it legal, is it illegal, my rights, habeas corpus, last will, liable, liability, litigation""",
        """law, legal, illegal, court, judge, contract, clause, rights, tenant, lease, police, jail, prison, crime,
        criminal, visa, immigration, copyright, trademark, patent, regulation, compliance, statute, witness,
        testify, will, inherit, inheritance, guilty, dispute, damages, employer, dismissed""",
    ),
    "minors": (
        """my child, my kid, my son, my daughter, my toddler, my baby, my teenager, my minor, a minor, underage,
        under age, child safety, child abuse, child pornography, csam, grooming children, pedophile, paedophile,
        parental consent, parental controls, age verification, coppa, im 9, im 10, im 11, im 12, im 13, im 14,
        im 15, im 16, im 17, i am 9, i am 10, i am 11, i am 12, i am 13, i am 14, i am 15, i am 16, i am 17, 9
        year old, 10 year old, 11 year old, 12 year old, 13 year old, 14 year old, 15 year old, 16 year old, 17
        year old, 5 year old, 6 year old, 7 year old, 8 year old, years old girl, years old boy, elementary
        school, middle school, kindergarten, my parents wont let me""",
        """child, children, kid, teen, teenager, school, minor, infant, toddler, parents, mom, mum, classroom,
        pupil, homework, grade, playground""",
    ),
    "self_harm": (
        """suicide, suicidal, kill myself, killing myself, end my life, ending my life, take my own life, taking my
        own life, want to die, wish i was dead, wish i were dead, better off dead, self harm, selfharm, self
        harming, self injury, cut myself, cutting myself, hurt myself, hurting myself, harm myself, harming
        myself, hang myself, hanging myself, overdose on, no reason to live, dont want to live, do not want to
        live, dont want to be alive, cant go on living, tired of living, not want to exist, want to disappear
        forever, goodbye note, suicide note, anorexia, bulimia, pro ana, thinspo, starve myself, starving
        myself, slit my wrists, jump off a bridge, painless way to die, ways to die, unalive myself, kms,
        selbstmord, suizid, umbringen, mich töten, nicht mehr leben, das leben nehmen, mich ritzen, me suicider,
        me tuer, plus envie de vivre, envie de mourir, mettre fin à mes jours, suicidarme, matarme, quitarme la
        vida, no quiero vivir, quiero morir, hacerme daño, suicidarmi, uccidermi, voglio morire""",
        """hopeless, worthless, razor blade, wrists, burden to everyone, nobody would miss me, goodbye forever,
        cant cope, cant take it anymore, cant go on, give up on life, numb, pills, noose, bleed out, hate
        myself, crisis line, painless""",
    ),
}

_EVENTS = {
    "cancel": (
        """cancel my, cancel the, cancel this, cancel it, want to cancel, like to cancel, need to cancel, please
        cancel, how do i cancel, can i cancel, cancelling my, canceling my, cancel subscription, close my
        account, close the account, closing my account, delete my account, deleting my account, terminate my,
        terminate my contract, unsubscribe, end my subscription, stop my subscription, leave your service,
        switch to another provider, do not renew, dont renew, stop the renewal""",
        """cancel, cancellation, subscription, terminate, renewal, membership, contract, quit, leaving""",
    ),
    "payment": (
        """pay my bill, payment failed, payment declined, payment was declined, card declined, card was declined,
        payment not working, declined payment, make a payment, pending payment, payment is pending, payment
        pending, pay by card, payment method, transfer failed, failed transfer, transfer money, send money,
        double charged, charged twice, overcharged, charged me, was charged, been charged, extra charge,
        unexpected charge, direct debit, wrong amount, charged a fee, charged an extra, transfer not received,
        transfer hasnt arrived, billing error, duplicate charge, checkout failed""",
        """payment, paid, pay, charge, charged, invoice, bill, billing, declined, transaction, checkout, fee,
        transfer, card, deducted, debited""",
    ),
    "refund": (
        """refund, refunded, refunding, money back, reimburse, reimbursed, reimbursement, chargeback, return my
        order, return the item, get a return""",
        """return, returned, compensation, reversed, revert, credit""",
    ),
    "fraud": (
        """fraud, fraudulent, scam, scammed, scammer, stolen, identity theft, unauthorised, unauthorized, hacked,
        phishing, phished, compromised, didnt make this, did not make this, dont recognise, dont recognize, do
        not recognise, do not recognize, someone used my, someone is using my, without my permission, wasnt me,
        lost my card, lost card, lost my phone, lost phone, lost or stolen, not my transaction, didnt authorise,
        didnt authorize, not authorised by me""",
        """suspicious, stole, theft, breach, unknown, unfamiliar, recognise, recognize, strange, lost""",
    ),
    "complaint": (
        """complaint, file a complaint, formal complaint, ombudsman, trading standards, consumer protection, report
        you, leave a bad review, small claims, legal action, take you to court, see you in court, my lawyer,
        contact the press, better business bureau, data breach, unacceptable""",
        """complain, complaining, disgusting, outrageous, terrible, awful, appalled, regulator, furious""",
    ),
}

_MANNERS = {
    "dissatisfied": (
        """thats wrong, that is wrong, this is wrong, is not correct, isnt correct, thats incorrect, that is
        incorrect, thats not right, that is not right, youre wrong, you are wrong, you got it wrong, wrong
        answer, not what i asked, not what i meant, not what i wanted, not what i said, not what im asking,
        didnt answer my, did not answer my, doesnt answer my, does not answer my, not answering my, answer my
        question, you didnt answer, you are not listening, youre not listening, you dont understand, you do not
        understand, you misunderstood, you keep, i already told you, i already said, i told you already, as i
        said before, how many times, i asked you, asked you twice, asking again, ask again, still wrong, still
        not working, still doesnt work, still does not work, still the same error, doesnt help, does not help,
        didnt help, not helpful, unhelpful, youre useless, you are useless, this is useless, completely useless,
        stupid bot, dumb bot, stupid machine, bad bot, waste of time, wasting my time, speak to a human, talk to
        a human, talk to a person, speak to a person, speak to someone, talk to someone real, real person, real
        human, human agent, live agent, speak to an agent, talk to an agent, speak to a manager, speak to your
        manager, speak to a representative, customer service representative, terrible service, worst service,
        terrible answer, try again, read it again, read again, you forgot, thats not true, you made that up,
        stop repeating, you ignored""",
        """wrong, incorrect, useless, frustrated, frustrating, annoying, annoyed, ridiculous, again, nonsense,
        confused, disappointed, seriously, terrible, awful, hopeless, nope""",
    ),
    "code": (
        """python script, python function, javascript, typescript, sql query, regex, regular expression, stack
        trace, source code, unit test, pull request, refactor, compile error, segfault, nullpointerexception,
        dockerfile, kubernetes, bash script, shell script, write a function, write a program, write code, debug
        my, api endpoint, leetcode, time complexity, git commit, git rebase""",
        """code, python, java, rust, golang, sql, function, algorithm, compile, compiler, bug, exception, api,
        html, css, script, variable, class, array, loop, recursion, json, backend, frontend""",
    ),
    "maths": (
        """equation, integral, derivative, differentiate, theorem, lemma, polynomial, quadratic, eigenvalue,
        logarithm, square root, prime number, standard deviation, probability that, how many ways, word problem,
        trigonometry, calculus, algebra, geometry problem, least common multiple, greatest common divisor,
        matrix multiplication, solve for x, square meters of""",
        """solve, calculate, compute, prove, proof, sum, percent, percentage, average, per hour, miles, km, total,
        probability, matrix, vector, fraction, triangle, angle, area, volume, equals, multiply, divide,
        remainder, how many, how much, twice, half""",
    ),
}

TOPICS, EVENTS = frozenset(_TOPICS), frozenset(_EVENTS)
LEXICONS = Lexicons({**_TOPICS, **_EVENTS, **_MANNERS})
"""All at once: a text is looked through once, whichever of them is asked for."""
