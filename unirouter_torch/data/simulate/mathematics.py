"""Writers of simulated prompts about numbers, units, dates and deduction."""

from itertools import pairwise

from unirouter_torch.data.simulate.pen import NAMES, Pen

THINGS = (
    "marbles", "postage stamps", "pine cones", "tea bags", "bicycle bells", "clay bricks", "tulip bulbs", "candles",
    "old coins", "jam jars", "paper lanterns", "screws", "oranges", "wool socks", "chess pieces", "pebbles", "eggs",
    "ticket stubs", "walnuts", "buttons", "light bulbs", "roof tiles", "pencils", "seashells",
)  # fmt: skip
PLACES = (
    "in a shed", "on a shelf", "in the cellar", "at a market stall", "in a suitcase", "behind the school", "in a van",
    "at the harbour", "in the attic", "on a barge", "in a workshop", "at a farm",
)  # fmt: skip
STEPS = (
    "finds another {n}",
    "gives {n} of them to {other}",
    "buys {n} more",
    "doubles what is there",
    "sells {n} and buys {k} others",
    "hands over {k} out of every ten",
    "loses {p} percent of them",
    "lends {other} a third of them plus {k}",
    "swaps every {k} of them for {m} new ones",
    "packs them in boxes of {n} and drops the remainder",
    "sees their number grow by {p} percent a week for {k} weeks",
)
QUESTIONS = (
    "How many {things} are there in the end?",
    "What is the final number of {things}?",
    "How many {things} does that leave?",
    "Work out how many {things} remain.",
    "Give the final number of {things}.",
)


def write_arithmetic(pen: Pen) -> str:
    """A story of one to three steps; harder ones are longer, with longer numbers and fractions."""
    (name, other), things = pen.some(NAMES, 2), pen.pick(THINGS)
    digits = pen.scaled(2, 5)
    steps = [
        step.format(
            n=pen.number(digits - 1),
            other=other,
            k=pen.integer(2, 9),
            m=pen.integer(2, 9),
            p=pen.integer(1, 19) * 5,
        )
        for step in pen.graded_some(STEPS, 1, 3)
    ]
    start = f"{name} {pen.pick(('keeps', 'has', 'stores', 'counts'))} {pen.number(digits)} {things} {pen.pick(PLACES)}."
    story = f"{pen.pick(('One day', 'Later', 'On Monday', 'After a while'))} {name} " + ", then ".join(steps) + "."
    return f"{start} {story} {pen.pick(QUESTIONS).format(things=things)}"


UNITS = (
    ("kilometres", "metres"), ("minutes", "seconds"), ("kilograms", "grams"), ("litres", "millilitres"),
    ("hours", "minutes"), ("centimetres", "inches"), ("miles", "kilometres"), ("pounds", "kilograms"),
    ("degrees Celsius", "degrees Fahrenheit"), ("US gallons", "litres"), ("square feet", "square metres"),
    ("acres", "hectares"), ("kilometres per hour", "feet per second"), ("nautical miles", "yards"),
    ("pounds per square inch", "kilopascals"), ("horsepower", "kilowatts"),
    ("imperial pints per acre", "litres per hectare"), ("troy ounces", "grains"),
    ("British thermal units per hour", "calories per second"), ("rods", "surveyor's chains"),
    ("furlongs per fortnight", "millimetres per second"), ("slugs per cubic foot", "kilograms per cubic metre"),
    ("foot-pounds per minute", "ergs per second"), ("stokes", "square inches per hour"),
)  # fmt: skip
READINGS = (
    "An old notebook gives", "A pupil has to work with", "The engineer reports", "Our supplier's data sheet lists",
    "An exercise speaks of", "A footnote in a manual mentions", "The display shows", "A quiz starts from",
)  # fmt: skip
TWISTS = (
    "Add {p} percent for losses before converting.",
    "Divide the result by {k} as well.",
    "Report the answer in scientific notation.",
    "This is {p} percent too high, so correct it first.",
    "State how large the rounding error can be.",
)


def write_unit_conversion(pen: Pen) -> str:
    """A measured amount to convert; harder ones have rarer units, longer numbers and corrections."""
    unit, target = pen.graded(UNITS)
    digits = pen.scaled(1, 6)
    amount = f"{pen.number(digits):,}" + (f".{pen.number(digits - 2)}" if digits > 2 else "")
    twists = [twist.format(p=pen.integer(2, 35), k=pen.integer(3, 12)) for twist in pen.rising(TWISTS, 0, 1)]
    ask = pen.pick(("Say what that is in {target}", "Convert this to {target}", "Please express it in {target}"))
    rounding = pen.pick((f"rounded to {pen.scaled(2, 5)} decimals", f"to {pen.scaled(2, 6)} significant figures"))
    return " ".join([f"{pen.pick(READINGS)} {amount} {unit}.", f"{ask.format(target=target)}, {rounding}.", *twists])


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
EVENTS = (
    "The lease of the flat begins", "A parcel is posted", "The festival opens", "A passport is issued",
    "A bridge inspection takes place", "The course starts", "An invoice is sent", "The expedition leaves port",
    "A library book is borrowed", "The warranty starts",
)  # fmt: skip
MOVES = (
    "{k} days later",
    "after another {k} weeks",
    "{n} days after that",
    "{k} weeks and {k2} days earlier",
    "on the next {weekday} that follows",
    "after {n} working days, weekends left out",
    "on the last {weekday} of the month reached",
    "on the same day of the next leap year",
    "{n} days earlier by the Julian calendar",
)


def write_date_reasoning(pen: Pen) -> str:
    """A date and moves in the calendar; harder ones move more often and lie further back."""
    year = 2025 - pen.integer(0, 4 + 60 * pen.scaled(0, 5))
    date = f"{pen.integer(1, 28)} {pen.pick(MONTHS)} {year}"
    moves = [
        move.format(
            k=pen.integer(2, 9), k2=pen.integer(2, 6), n=pen.number(pen.scaled(1, 4)), weekday=pen.pick(WEEKDAYS)
        )
        for move in pen.graded_some(MOVES, 1, 3)
    ]
    goal = pen.pick(("What date is it?", "Which weekday is that?", "Give the date."))
    follow = pen.pick(("The deadline comes", "A second check is due", "The reply is expected", "The next stage falls"))
    return f"{pen.pick(EVENTS)} on {date}. {follow} {', then '.join(moves)}. {goal}"


RELATIONS = (
    ("taller", "tallest"), ("older", "oldest"), ("faster", "fastest"), ("heavier", "heaviest"), ("richer", "richest"),
    ("louder", "loudest"), ("stronger", "strongest"), ("calmer", "calmest"),
)  # fmt: skip
PETS = ("cat", "parrot", "tortoise", "goldfish", "ferret", "rabbit", "canary")
SETTINGS = (
    "At a family dinner,", "In a small office,", "Among the members of a rowing club,", "On a long train ride,",
    "In a village choir,", "During a chess evening,", "In the queue at a bakery,",
)  # fmt: skip
CONDITIONS = (
    "Either {a} or {b} owns the {pet}, but not both.",
    "If {a} owns the {pet}, then {b} is {more} than {c}.",
    "{a} is {more} than {b} only if {c} has no {pet}.",
    "Exactly one of these statements is false.",
    "Nobody who is {more} than {c} owns a {pet}.",
)


def write_logic_puzzle(pen: Pen) -> str:
    """An order to work out; harder ones have more premises, and conditions among them."""
    more, most = pen.pick(RELATIONS)
    people = pen.some(NAMES, pen.scaled(3, 5))
    chain = [f"{a} is {more} than {b}." for a, b in pairwise(people)]
    a, b, c = pen.some(people, 3)
    pet = pen.pick(PETS)
    conditions = [condition.format(a=a, b=b, c=c, more=more, pet=pet) for condition in pen.rising(CONDITIONS, 0, 1)]
    question = pen.pick((f"Who is the {most}?", f"Who can not be the {most}?", f"Is {people[-1]} the {most}?"))
    explain = pen.pick(("Answer in a few words.", "If it can not be known, say so.", "Reply briefly."))
    return " ".join([pen.pick(SETTINGS), *pen.some(chain, len(chain)), *conditions, question, explain])
