"""Writers of simulated prompts about translation, summaries and verse."""

from unirouter_torch.data.simulate.pen import NAMES, Pen

TONGUES = (
    "Spanish", "French", "German", "Italian", "Portuguese", "Dutch", "Polish", "Swedish", "Turkish", "Greek",
    "Vietnamese", "Czech", "Hungarian", "Finnish", "Swahili", "Welsh", "Georgian", "Icelandic", "Basque", "Yoruba",
    "Maltese", "Quechua", "Faroese", "Inuktitut",
)  # fmt: skip
CLAUSES = (
    "the shop opens at {k}",
    "{name} reads a book in the garden",
    "we are waiting for the bus",
    "my brother has bought {k} red apples",
    "the weather was better last week",
    "{name} would rather walk than take the tram",
    "the letter that {name} sent never arrived",
    "nobody had told the children about the storm",
    "had {name} known, the meeting would have been called off",
    "the committee tabled the motion for want of a quorum",
    "{name} let the cat out of the bag and got off scot-free",
    "the hawser chafed against the bollard as the tide turned",
    "whatever else may be said of it, the plan was penny wise and pound foolish",
)
JOINTS = (", and ", ", but ", "; meanwhile ", ", because ", ", although ", "; besides, ")
REGISTERS = (
    "Use everyday words.", "Keep the tone polite.", "Make it suit a formal letter.",
    "Keep the idioms idiomatic, not literal.", "Use the register of a nineteenth-century novel.",
    "Keep the rhythm and render the puns.",
)  # fmt: skip
TRANSLATION_ASKS = (
    "Translate this sentence into {tongue}:", "How would one say the following in {tongue}?",
    "Please put this text into {tongue}:", "Give me these words in {tongue}:",
)  # fmt: skip


def write_translation(pen: Pen) -> str:
    """A sentence to translate from English; harder ones are longer, idiomatic, into less common languages."""
    chosen = pen.graded_some(CLAUSES, 1, 2)
    clauses = [clause.format(name=pen.pick(NAMES), k=pen.integer(2, 12)) for clause in chosen]
    sentence = clauses[0] + "".join(pen.pick(JOINTS) + clause for clause in clauses[1:])
    ask = pen.pick(TRANSLATION_ASKS).format(tongue=pen.graded(TONGUES))
    return f'{ask} "{sentence[0].upper()}{sentence[1:]}." {pen.graded(REGISTERS)}'


BODIES = (
    "The town council", "A fishing cooperative", "The regional museum", "A maker of bicycles", "The ferry company",
    "A team of botanists", "The youth orchestra", "An insurance firm", "The mountain rescue service", "A seed bank",
)  # fmt: skip
DEEDS = (
    "counted {n} visitors, up from {m} the year before",
    "will close its old building in {month} and move to the harbour",
    "opened a new branch with {k} employees",
    "lost {k} percent of its income after the flood",
    "hired {name} to lead the repairs",
    "published a study that contradicts its own figures of {year}",
    "settled a dispute over pensions without admitting fault",
    "withdrew a proposal, citing costs that critics call exaggerated",
    "deferred the write-down of assets to {year}",
)
MONTHS = ("January", "March", "April", "June", "August", "October", "November")
READERS = (
    "a friend", "school children", "busy commuters", "the local newspaper", "a grant committee",
    "sceptical shareholders", "a court-appointed auditor",
)  # fmt: skip
LIMITS = (
    "Keep to the main point.",
    "Keep the order of events.",
    "Avoid the passive voice.",
    "Do not repeat any word from the first sentence.",
    "Weigh the claims against one another.",
    "Do not use the letter z.",
    "Say what remains unclear.",
)


def write_summary(pen: Pen) -> str:
    """Sentences to summarise; harder ones are longer, with less room and more limits."""
    deeds = pen.graded_some(DEEDS, 1, 2)
    sentences = [
        f"{body} "
        + deed.format(
            n=pen.number(4), m=pen.number(3), k=pen.integer(3, 90), name=pen.pick(NAMES),
            month=pen.pick(MONTHS), year=pen.integer(1990, 2024),
        ) + "."
        for body, deed in zip(pen.some(BODIES, len(deeds)), deeds, strict=True)
    ]  # fmt: skip
    ask = pen.pick(("Summarise", "Condense", "Sum up", "Shorten"))
    room = f"{ask} for {pen.graded(READERS)} in at most {24 - 3 * pen.scaled(0, 5)} words:"
    return " ".join([room, *sentences, *pen.rising(LIMITS, 0, 1)])


FORMS = (
    "a rhyming couplet", "a four-line rhyme", "a limerick", "a haiku", "a short ballad", "an acrostic of six lines",
    "a poem in rhyming triplets", "a cinquain", "a sonnet in iambic pentameter", "a rondeau", "a pantoum",
    "a villanelle", "a ghazal of five couplets", "a double dactyl", "a sestina",
)  # fmt: skip
SUBJECTS = (
    "a broken umbrella", "the first snow", "an empty railway station", "a stubborn donkey", "my grandmother's kitchen",
    "a lighthouse keeper", "lost luggage", "a quarrel of sparrows", "the night shift", "a rusty anchor",
    "two rival bakers", "the last day of school", "a comet", "a moth at the window", "an unfinished bridge",
)  # fmt: skip
MOODS = ("cheerful", "wistful", "dry", "solemn", "mocking", "tender", "restless", "hopeful")
RULES = (
    "Every line must start with the same letter.",
    "Do not use the letter {letter}.",
    "Each line has exactly {k} syllables.",
    "Hide the name {name} in the first letters.",
    "Use no adjectives.",
    "Rhyme the first line with the last.",
    "Mention a colour in every second line.",
    "Let each line be one word longer than the one before.",
    "Use only words of one syllable.",
)


def write_poetry(pen: Pen) -> str:
    """A poem to write; harder ones have stricter forms and more rules."""
    rules = [
        rule.format(letter=pen.pick("aeinorst"), k=pen.integer(5, 11), name=pen.pick(NAMES).upper())
        for rule in pen.rising(RULES, 0, 2)
    ]
    verb = pen.pick(("Write", "Compose", "Please make up", "I would like"))
    ask = f"{verb} {pen.graded(FORMS)} about {' and '.join(pen.some(SUBJECTS, 2))}."
    return " ".join([ask, f"The mood should be {pen.pick(MOODS)}.", *rules])
