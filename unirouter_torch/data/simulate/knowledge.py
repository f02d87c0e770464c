"""Writers of simulated prompts about facts, law and medicine."""

from unirouter_torch.data.simulate.pen import Pen

TOPICS = (
    (
        ("What is the capital of {}?", "Which currency is used in {}?", "Which countries border {} or lie nearest?",
         "Which languages are official in {}?", "What is the highest point of {}?", "Who first led {} as a state?"),
        ("France", "Japan", "Italy", "Egypt", "Brazil", "Canada", "Kenya", "Norway", "Peru", "Vietnam", "Jordan",
         "Latvia", "Laos", "Malawi", "Bhutan", "Gabon", "Suriname", "Eritrea", "Vanuatu", "Comoros", "Kiribati",
         "Nauru"),
    ),
    (
        ("What is the chemical symbol of {}?", "What is {} used for?", "Who discovered {}?",
         "At what temperature does {} melt?", "Where in nature is {} found?", "Which isotopes of {} are stable?"),
        ("iron", "gold", "oxygen", "copper", "silver", "carbon", "zinc", "nickel", "neon", "titanium", "cobalt",
         "tungsten", "bismuth", "gallium", "antimony", "tellurium", "hafnium", "rhenium", "yttrium", "samarium",
         "praseodymium", "lutetium"),
    ),
    (
        ("Where does the {} live?", "What does the {} eat?", "How long does the {} usually live?",
         "To which biological order does the {} belong?", "Who first described the {}?",
         "Which parasites are known from the {}?"),
        ("lion", "horse", "penguin", "polar bear", "dolphin", "kangaroo", "barn owl", "hedgehog", "octopus", "badger",
         "walrus", "pangolin", "narwhal", "okapi", "tarsier", "kakapo", "binturong", "fossa", "solenodon", "olm",
         "saola", "zorilla"),
    ),
    (
        ("In which century did {} take place?", "Who took part in {}?", "What caused {}?",
         "How did {} end?", "Which treaty or document followed {}?", "Which chronicler wrote about {}?"),
        ("the Second World War", "the French Revolution", "the Crimean War", "the Black Death", "the fall of Rome",
         "the Hundred Years' War", "the Boston Tea Party", "the Battle of Hastings", "the Congress of Vienna",
         "the Thirty Years' War", "the Meiji Restoration", "the Taiping Rebellion", "the Defenestration of Prague",
         "the Fourth Crusade", "the War of Jenkins' Ear", "the German Peasants' War", "the Great Northern War",
         "the Livonian War", "the Zanj Rebellion", "the Chremonidean War", "the Morean War",
         "the War of the Eight Saints"),
    ),
)  # fmt: skip
FACT_STARTS = (
    "I am preparing a quiz.", "My daughter asked me at breakfast.", "Please help me settle a bet.",
    "For a crossword:", "I am working on a school project.", "We talked about this on a hike.",
    "A card game asks me this.", "Our radio show needs it checked.", "It came up in a letter from an old friend.",
)  # fmt: skip
FACT_ENDS = (
    "Answer in one sentence.", "If you are not sure, say so.", "Keep it short and name only what was asked.",
    "No guesses, please.", "A few words will do.", "Be exact about names and years.",
)  # fmt: skip


def write_fact_recall(pen: Pen) -> str:
    """Questions about one thing; harder ones ask more, and finer things, about something less known."""
    questions, things = pen.pick(TOPICS)
    thing = pen.graded(things)
    asked = sorted({pen.scaled(0, len(questions) - 1) for _ in range(pen.scaled(1, 3))})
    return " ".join([pen.pick(FACT_STARTS), *(questions[i].format(thing) for i in asked), pen.pick(FACT_ENDS)])


LEGAL_TERMS = (
    "a security deposit", "a notice period", "a power of attorney", "a non-disclosure clause", "limited liability",
    "a right of first refusal", "joint and several liability", "force majeure", "specific performance",
    "an easement by prescription", "estoppel by conduct", "the parol evidence rule", "a promissory warranty",
    "subrogation against a co-surety", "cy-près application of a trust", "the rule against perpetuities",
    "renvoi in the conflict of laws", "the barring of a fee tail",
)  # fmt: skip
PARTIES = (
    "a tenant and a landlord", "two flatmates", "a baker and a mill", "a carrier and a farmer",
    "an author and a publisher", "a charter company and its guests", "three heirs of a vineyard",
    "a start-up and its first investor", "a choir and a concert hall", "a shipowner and a bank",
)  # fmt: skip
REALMS = (
    "", "under English law", "under the law of New York", "under German law", "under Scots law",
    "under the law of Quebec", "under Roman-Dutch law in South Africa", "under the customary law of Jersey",
)  # fmt: skip
LEGAL_ASKS = (
    "what is meant by {term}",
    "when does {term} apply",
    "how would you word {term}",
    "who bears the burden of proving {term}",
    "on which grounds can one set aside {term}",
    "which exceptions to {term} could a court imply",
)
LEGAL_TWISTS = (
    "One side signed under a mistake.",
    "The contract is silent on costs.",
    "One side is now insolvent.",
    "A minor is involved.",
    "Assets lie in {k} countries.",
    "It was promised orally {k} years earlier.",
)
ANSWER_STYLES = (
    "Use plain words.", "Answer in a short paragraph.", "List the points.", "Be brief but exact.",
)  # fmt: skip


def write_legal(pen: Pen) -> str:
    """A question of law; harder ones have rarer terms and jurisdictions and more complications."""
    ask = pen.graded(LEGAL_ASKS).format(term=pen.graded(LEGAL_TERMS))
    place = f" {pen.graded(REALMS)}".rstrip()
    twists = [twist.format(k=pen.integer(2, 9)) for twist in pen.rising(LEGAL_TWISTS, 0, 2)]
    opening = f"In a deal between {pen.pick(PARTIES)}, {ask}{place}?"
    return " ".join([opening, *twists, pen.pick(ANSWER_STYLES)])


CONDITIONS = (
    "a common cold", "a sprained ankle", "hay fever", "a mild burn", "iron deficiency", "migraine", "asthma", "gout",
    "type 2 diabetes", "atrial fibrillation", "coeliac disease", "ulcerative colitis", "myasthenia gravis",
    "Addison's disease", "sarcoidosis of the lung", "acute intermittent porphyria", "Takayasu arteritis",
    "eosinophilic fasciitis", "Erdheim-Chester disease",
)  # fmt: skip
PATIENTS = (
    "A teacher", "A former sailor", "A nurse", "A gardener", "A truck driver", "An office clerk", "A farmer",
)  # fmt: skip
MEDICAL_ASKS = (
    "What usually helps?",
    "Which signs call for a doctor?",
    "How is it diagnosed?",
    "Which tests confirm it, and in which order?",
    "What is the first-line treatment and its main risk?",
    "Which rarer conditions must be ruled out first?",
    "How should the dose be adapted and monitored?",
)
FINDINGS = (
    "Kidney function is reduced.",
    "The patient takes {k} other drugs.",
    "There is an allergy to penicillin.",
    "Symptoms returned after {k} weeks.",
    "Blood pressure is {high} over {low}.",
    "The patient is on warfarin.",
    "Liver values are {k} times the upper limit.",
)


def write_medical(pen: Pen) -> str:
    """A question of medicine; harder ones have rarer conditions and more findings to weigh."""
    verb = pen.pick(("has", "was diagnosed with", "asks about", "may have"))
    findings = [
        finding.format(k=pen.integer(2, 9), high=pen.integer(95, 190), low=pen.integer(50, 94))
        for finding in pen.rising(FINDINGS, 0, 2)
    ]
    opening = f"{pen.pick(PATIENTS)} aged {pen.integer(19, 88)} {verb} {pen.graded(CONDITIONS)}."
    return " ".join([opening, *findings, pen.graded(MEDICAL_ASKS), pen.pick(ANSWER_STYLES)])
