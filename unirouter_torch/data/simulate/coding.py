"""Writers of simulated prompts about code, databases and the spelling of words."""

from unirouter_torch.data.simulate.pen import Pen

VARIABLES = ("x", "n", "count", "total", "value", "acc", "size", "score", "left", "height")
STATEMENTS = (
    "{v} = {v} + {a}",
    "{v} = {v} * {b}",
    "{v} -= {a} // {b}",
    "if {v} > {a}:\n    {v} -= {b}",
    "for i in range({b}):\n    {v} += i",
    "while {v} > {a}:\n    {v} //= {b}",
    "{v} = sum(d * {b} for d in range({a}) if d % {c})",
    "{v} = (lambda f, k: f(f, k))(lambda f, k: k if k < {b} else f(f, k - {c}) + {a}, {v} % {a})",
    "{v} ^= ({v} << {c}) & {a}",
    "for i in range({b}):\n    for j in range(i, {b}):\n        {v} += (i ^ j) % {c}",
)
READING_ASKS = (
    "What does this Python code print?",
    "Read the Python program below and give its output.",
    "Without running it, say what the following snippet prints.",
    "My colleague wrote these lines of Python. What appears on the screen?",
    "Trace this code by hand and report the printed value.",
)


def write_code_reading(pen: Pen) -> str:
    """A short program to trace; harder ones have more lines, loops and bit operations."""
    variable = pen.pick(VARIABLES)
    lines = [
        statement.format(v=variable, a=pen.number(pen.scaled(1, 3)), b=pen.integer(2, 9), c=pen.integer(2, 5))
        for statement in pen.graded_some(STATEMENTS, 1, 3)
    ]
    program = "\n".join([f"{variable} = {pen.number(pen.scaled(1, 3))}", *lines, f"print({variable})"])
    return f"{pen.pick(READING_ASKS)}\n\n{program}"


LANGUAGES = (
    "Python", "JavaScript", "Java", "TypeScript", "C#", "Go", "C++", "Ruby", "Rust", "Kotlin", "Swift", "Haskell",
    "OCaml", "Erlang", "Fortran 90", "COBOL", "Forth", "APL",
)  # fmt: skip
TASKS = (
    "adds up the even entries of a list",
    "reverses the words of a sentence",
    "counts the vowels in a text",
    "finds the largest and the smallest of some numbers",
    "checks whether a word is a palindrome",
    "removes duplicates from a list and keeps the order",
    "merges two sorted lists",
    "parses a date written as day, month and year",
    "counts how often each word stands in a text file",
    "turns Roman numerals into integers",
    "checks that brackets of three kinds are balanced",
    "finds the longest common prefix of some strings",
    "multiplies two matrices of any matching size",
    "walks a binary tree level by level",
    "caches results and drops the least recently used",
    "finds the shortest path in a weighted graph",
    "evaluates an arithmetic expression with precedence",
    "solves a nine by nine sudoku by backtracking",
    "computes the edit distance and the edits themselves",
    "schedules tasks with dependencies on several workers",
    "matches a regular expression with stars and groups",
    "balances a red-black tree after a deletion",
    "finds the convex hull of points and its area",
    "keeps a replicated log consistent when messages get lost",
    "infers the types of a small functional language",
)
DEMANDS = (
    "Do not use any library.",
    "It must run in linear time.",
    "Use constant extra memory.",
    "Handle empty input without raising.",
    "Do not use recursion.",
    "Make it safe to call from several threads.",
    "Accept input that is streamed in pieces.",
    "Support numbers larger than sixty-four bits.",
    "Include a property that a test could check.",
    "Stay under twenty lines.",
)
BACKGROUNDS = (
    "I maintain a small web shop.", "This is for a homework sheet.", "We are cleaning up an old code base.",
    "I am preparing for an interview.", "Our data team needs a helper.", "It goes into a command line tool.",
    "This will run on a tiny device.",
)  # fmt: skip


def write_code_writing(pen: Pen) -> str:
    """A function to write; harder ones need rarer algorithms and languages, under more demands."""
    verb = pen.pick(("Write", "Please implement", "I need", "Show me", "Give me"))
    kind = pen.pick(("function", "routine", "short program"))
    request = f"{verb} a {kind} in {pen.graded(LANGUAGES)} that {pen.graded(TASKS)}."
    return " ".join([pen.pick(BACKGROUNDS), request, *pen.rising(DEMANDS, 0, 2)])


SCHEMAS = (
    ("orders(id, customer_id, total, placed_on)", "customers(id, name, city)", "order total", "city"),
    ("loans(id, member_id, fee, lent_on)", "members(id, name, branch)", "loan fee", "branch"),
    ("flights(id, plane_id, distance, left_on)", "planes(id, maker, airline)", "flight distance", "airline"),
    ("visits(id, patient_id, minutes, seen_on)", "patients(id, ward, born)", "visit length", "ward"),
    ("matches(id, team_id, goals, played_on)", "teams(id, name, league)", "number of goals", "league"),
    ("readings(id, sensor_id, level, read_on)", "sensors(id, river, region)", "water level", "region"),
    ("tickets(id, agent_id, hours, opened_on)", "agents(id, name, team)", "handling time", "team"),
    ("sales(id, farm_id, kilos, sold_on)", "farms(id, crop, valley)", "weight sold", "valley"),
)
REQUESTS = (
    "lists all rows of the first table, newest first",
    "counts the rows where the {measure} is above {n}",
    "gives the average {measure}",
    "shows the {k} largest values of the {measure}",
    "gives the mean {measure} for each {group}",
    "lists every {group} whose summed {measure} exceeds {n}",
    "gives the {group} with no rows in the last {k} months",
    "ranks each {group} by {measure} within every year",
    "gives the running total of the {measure} for each {group}, month by month",
    "gives the median {measure} per {group} without a median function",
    "finds the longest gap in days between rows of the same {group}",
    "finds the runs of {k} or more consecutive days on which the {measure} rose in a {group}",
)
DATABASE_DEMANDS = (
    "Months without rows must appear as zero.",
    "Treat missing values as the average of their group.",
    "Do it in one statement without subqueries.",
    "Break ties by the smaller id.",
    "Leave out the top {k} percent.",
    "It has to work on SQLite.",
)


def write_sql(pen: Pen) -> str:
    """A query to write over two tables; harder ones need windows, gaps and more demands."""
    first, second, measure, group = pen.pick(SCHEMAS)
    request = pen.graded(REQUESTS).format(measure=measure, group=group, n=pen.number(3), k=pen.integer(3, 12))
    demands = [demand.format(k=pen.integer(2, 9)) for demand in pen.rising(DATABASE_DEMANDS, 0, 1)]
    ask = pen.pick(
        ("Write an SQL query that", "Give me SQL that", "Show me a SELECT statement that", "I want a query which")
    )
    tables = pen.pick(("Take the tables {} and {}.", "My database holds {} and {}.", "Tables: {}, {}."))
    return " ".join([tables.format(first, second), f"{ask} {request}.", *demands])


WORDS = (
    "cat", "lamp", "tree", "river", "stone", "garden", "window", "bottle", "kitchen", "harbour", "elephant",
    "mountain", "chocolate", "telescope", "blacksmith", "locomotive", "marketplace", "thunderstorm", "hippopotamus",
    "choreographer", "procrastinate", "constitutional", "incomprehensible", "counterproductive",
    "uncharacteristically", "counterrevolutionary",
)  # fmt: skip
EDITS = (
    "write it in capitals",
    "reverse it",
    "drop the first letter",
    "replace each vowel by a star",
    "swap the first and the last letter",
    "remove every letter that occurs twice",
    "put a dash after every second letter",
    "shift each letter {k} places along the alphabet",
    "sort its letters and keep only those at odd positions",
    "move the consonants before the vowels",
    "rotate it {k} places to the left and repeat its middle letter",
)
SPELLING_STARTS = (
    "Here is a small game with letters.", "I am testing a keyboard.", "This is for a word puzzle in our newsletter.",
    "Please do this letter by letter.", "A child asked me this.", "No explanation needed.",
)  # fmt: skip


def write_string_manipulation(pen: Pen) -> str:
    """Edits of words in sequence; harder ones have longer words and more edits."""
    words = " ".join(pen.graded(WORDS) for _ in range(pen.scaled(1, 2)))
    edits = [edit.format(k=pen.integer(2, 9)) for edit in pen.graded_some(EDITS, 1, 2)]
    ask = pen.pick(("What do you get?", "Give only the result.", "Which string comes out?", "Write down the outcome."))
    return f'{pen.pick(SPELLING_STARTS)} Take the text "{words}" and ' + ", then ".join(edits) + f". {ask}"
