"""One LLM at three reasoning efforts, beside a small LLM: four rows of a pool, without training.

python examples/reasoning_efforts.py

The outcomes here are made up: a lower effort fails at the harder tasks, and the high effort costs ten times the low
one. Put yours in their place, a measurement for each effort: `unirouter measure --extra '{"reasoning_effort": "low"}'`.
"""

from unirouter_torch import Router

TASKS = {
    "trivia": "Which city was the capital of the kingdom of {word} in the year {number}?",
    "sums": "Anna buys {number} bags of {word} for 3 dollars each. How many dollars does she pay?",
    "code": "def f(s):\n    return s[{number}:] + '{word}'\nassert f('{word}{word}') == ",
    "proof": "Let $n > {number}$ be an integer. Find all $x$ with $x^2 + {number} x = n^3$, and prove it for {word}.",
}
SOLVES = {
    "small": ("trivia",),
    "thinker-low": ("trivia", "sums"),
    "thinker-medium": ("trivia", "sums", "code"),
    "thinker-high": ("trivia", "sums", "code", "proof"),
}
COST = {"small": 0.0002, "thinker-low": 0.001, "thinker-medium": 0.003, "thinker-high": 0.01}
WORDS = ("heron", "wren", "otter", "kite", "plover", "marten")

prompts = {
    f"{task}-{word}-{number}": text.format(word=word, number=number)
    for task, text in TASKS.items()
    for word in WORDS
    for number in (3, 8, 21, 340)
}
scores = {llm: {name: float(name.partition("-")[0] in solved) for name in prompts} for llm, solved in SOLVES.items()}

router = Router.from_pretrained("unirouter-static")
router.calibrate(prompts=prompts, scores=scores, cost=COST)
for cost_weight in (0.0, 0.3, 1.0):
    print(f"cost weight {cost_weight}")
    for task, text in TASKS.items():
        route = router.route([text.format(word="osprey", number=17)], cost_weight=cost_weight)[0]
        print(f"  {task:<8} {route.llm:<16} estimated error {route.estimated_error[route.llm]:.2f}")
