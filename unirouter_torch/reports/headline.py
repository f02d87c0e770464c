"""The sentence at the top of a report: what a router would have saved, how sure that is, and what a constant saves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unirouter_torch.methods.registry import display_name, is_reference, knows_more
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.metrics.statistics import SIGNIFICANCE_LEVEL
from unirouter_torch.metrics.stress_summary import StressSummary
from unirouter_torch.reports.stresses import STRESSES

FIGURE = "cost_at_99"
CONSTANTS = ("zero", "best_single")
"""Methods that read no prompt, in the order in which one is looked for to compare with."""

FEWEST_PROMPTS = 100
"""Test prompts below which resampling them says little of how sure a figure is."""

TAIL = 0.025

NOT_AS_WELL, AS_WELL, BETTER = "does not do as well", "may do as well", "does better"


def headline_of_trials(results: dict[str, Any]) -> str:
    """In a sentence: the saving over several trials with its interval, and the sign test against a constant choice.

    Args:
        results: Of several trials, as JSON.
    """
    name, num_trials = results["comparison"]["reference"], results["num_trials"]
    says = f"At 99% of the quality of the best single LLM, {display_name(name)} would have "
    reached = results["reached"][name][FIGURE]
    if not reached:
        return f"{says}saved nothing: it reaches that quality in none of {num_trials} trials."
    says += _saving(results["methods"][name][FIGURE])
    details = []
    if reached > 1:
        details.append(_interval(*results["intervals"][name][FIGURE]))
    details.append(f"{num_trials} trials" if reached == num_trials else f"{reached} of {num_trials} trials reach it")
    says += f" ({'; '.join(details)})"
    constant = next((other for other in CONSTANTS if other in results["methods"] and other != name), None)
    return f"{says}; {_verdict_of_trials(results, constant)}."


def headline_of_run(methods: Mapping[str, MethodScores], name: str, *, best_llm: str, num_prompts: int) -> str:
    """In a sentence: the cost of a quality on one test, how far it scatters, and what simpler choices would cost.

    Intervals and wins are over resampled prompts. A method does not do as well, or does better, where that is so in
    97.5% of the resamples.

    Args:
        methods: Scores by the name of the method.
        name: The router.
        best_llm: The best single LLM.
        num_prompts: Test prompts.
    """
    share, low, high = cost_of_run(methods[name])
    measured = f"{num_prompts:,} prompts"
    if share is None:
        says = f"{display_name(name)} would have saved nothing: it does not reach 99% of the quality of {best_llm}"
        says += f", {measured}"
    else:
        costs = "costs" if share < 1 else "would have saved nothing: it costs"
        says = f"At 99% of the quality of {best_llm}, {display_name(name)} {costs} {share:.0%} of it "
        says += f"[{low:.0%}, {_share(high)}], {measured}"
    constant = next((other for other in CONSTANTS if other in methods and other != name), None)
    parts = ["no constant choice was evaluated beside it"]
    if constant is not None:
        verdict, ahead = _verdict_of_run(methods, name, constant)
        cost = _share(methods[constant].figures[FIGURE])
        title, num_resamples = display_name(constant), len(methods[constant].resampled_cost)
        parts = [
            f"a constant choice {verdict}: {title} costs {cost}, more in {ahead:.0%} of {num_resamples:,} resamples"
        ]
    rivals: dict[str, list[str]] = {}
    for other in methods:
        if other not in (name, *CONSTANTS) and not knows_more(other) and not is_reference(other):
            verdict, _ = _verdict_of_run(methods, name, other)
            rivals.setdefault(verdict, []).append(f"{display_name(other)} ({_share(methods[other].figures[FIGURE])})")
    parts += [f"{' and '.join(titles)} {_of(verdict, len(titles))}" for verdict, titles in rivals.items()]
    return "; ".join([says, *parts]) + "."


def headline_of_stress(stresses: Sequence[StressSummary], name: str) -> str:
    """In a sentence: the stress that costs a router most, how sure that is, and how a constant choice does.

    Args:
        stresses: Any number.
        name: The router.

    Returns:
        Empty where no stress has a loss of area.
    """
    losses = [
        (cell, stress, level)
        for stress in stresses
        for (level, method, figure), cell in stress.cells.items()
        if (method, figure) == (name, "loss")
    ]
    if not losses:
        return ""
    loss, stress, level = max(losses, key=lambda found: found[0].mean)
    says = f"{display_name(name)} loses most area under {STRESSES[stress.name].title.lower()} ({level}): "
    says += f"{loss.mean:+.4f} [{loss.low:+.4f}, {loss.high:+.4f}], {stress.count_trials()}"
    constant = next((other for other in CONSTANTS if other in stress.methods and other != name), None)
    if constant is None:
        return f"{says}; no constant choice was evaluated beside it."
    cell = stress.cells[level, constant, "area"]
    verdict = _verdict(cell.wins, cell.losses, cell.sign_test_p)
    return (
        f"{says}; a constant choice {verdict} there: {display_name(constant)} has the smaller area in {cell.wins} "
        f"trials and the larger in {cell.losses} (p = {cell.sign_test_p:.2g})."
    )


def doubt_of_run(methods: Mapping[str, MethodScores], name: str, *, num_prompts: int) -> str:
    """Why a test is too small to tell whether the router saves anything; empty where it is not.

    Args:
        methods: Scores by the name of the method.
        name: The router.
        num_prompts: Test prompts.
    """
    _, low, high = cost_of_run(methods[name])
    reasons = [f"it has {num_prompts} prompts"] if num_prompts < FEWEST_PROMPTS else []
    if low < 1 <= high:
        reasons.append("the interval reaches beyond 100%")
    return f"The test is too small to tell: {' and '.join(reasons)}. Add prompts." if reasons else ""


def cost_of_run(scores: MethodScores) -> tuple[float | None, float, float]:
    """The cost at 99% of the best single LLM's quality as a share of its cost, and its 95% interval."""
    sample = scores.resampled_cost
    low, high = sample.quantile(TAIL, interpolation="lower"), sample.quantile(1 - TAIL, interpolation="higher")
    return scores.figures[FIGURE], float(low), float(high)


def _verdict_of_run(methods: Mapping[str, MethodScores], name: str, other: str) -> tuple[str, float]:
    """How another method does beside the router, and the share of the resamples in which it costs more."""
    mine, theirs = methods[name].resampled_cost, methods[other].resampled_cost
    ahead, behind = (float(wins.double().mean()) for wins in (mine < theirs, mine > theirs))
    if ahead >= 1 - TAIL:
        return NOT_AS_WELL, ahead
    return (BETTER if behind >= 1 - TAIL else AS_WELL), ahead


def _verdict(wins: int, losses: int, p: float) -> str:
    """How another method does, by the trials in which the router is better and worse, and the sign test."""
    if p >= SIGNIFICANCE_LEVEL:
        return AS_WELL
    return NOT_AS_WELL if wins > losses else BETTER


def _of(verdict: str, num_methods: int) -> str:
    """The verdict on several methods."""
    return verdict.replace("does", "do") if num_methods > 1 else verdict


def _share(share: float | None) -> str:
    return "not reached" if share is None or share == math.inf else f"{share:.0%}"


def _verdict_of_trials(results: dict[str, Any], constant: str | None) -> str:
    if constant is None:
        return "no constant choice was evaluated beside it"
    found = results["comparison"]["methods"][constant][FIGURE]
    p, wins, losses = found["sign_test_p"], found["wins"], found["losses"]
    verdict = _verdict(wins, losses, p)
    share = results["methods"][constant][FIGURE]
    return (
        f"a constant choice {verdict}: {_constant(constant, share)}; the router is cheaper in {wins} trials and more "
        f"expensive in {losses} (p = {p:.2g})"
    )


def _constant(name: str, share: float | None) -> str:
    if share is None:
        return f"{display_name(name)} never reaches that quality"
    return f"{display_name(name)} costs {share:.0%} of that LLM"


def _saving(share: float) -> str:
    if share < 1:
        return f"saved {1 - share:.0%} of its cost"
    return f"saved nothing: it costs {share:.0%} of that LLM"


def _interval(low: float, high: float) -> str:
    """Of the saving, from that of the cost."""
    ends = [f"{1 - end:.0%}" if end < float("inf") else "nothing" for end in (high, low)]
    return f"95% interval {ends[0]} to {ends[1]}"
