"""The sentence at the top of a report: what a router would have saved, how sure that is, and what a constant saves."""

from collections.abc import Mapping
from typing import Any

from unirouter_torch.methods.registry import display_name
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.metrics.statistics import SIGNIFICANCE_LEVEL

FIGURE = "cost_at_99"
CONSTANTS = ("zero", "best_single")
"""Methods that read no prompt, in the order in which one is looked for to compare with."""

TAIL = 0.025


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


def headline_of_run(methods: Mapping[str, MethodScores], name: str) -> str:
    """In a sentence: the saving on one test, how far it scatters over resampled prompts, and beside a constant choice.

    Args:
        methods: Scores by the name of the method.
        name: The router.
    """
    says = f"At 99% of the quality of the best single LLM, {display_name(name)} would have "
    share, sample = methods[name].figures[FIGURE], methods[name].resampled_cost
    if share is None:
        return f"{says}saved nothing: it does not reach that quality."
    low, high = sample.quantile(TAIL, interpolation="lower"), sample.quantile(1 - TAIL, interpolation="higher")
    missed = int(sample.isinf().sum())
    says += f"{_saving(share)} ({_interval(float(low), float(high))} over {len(sample):,} resamples of the test prompts"
    says += f", {missed:,} of which do not reach it)" if missed else ")"
    constant = next((other for other in CONSTANTS if other in methods and other != name), None)
    if constant is None:
        return f"{says}; no constant choice was evaluated beside it."
    theirs = methods[constant].figures[FIGURE]
    other = methods[constant].resampled_cost
    ahead, behind = (float(wins.double().mean()) for wins in (sample < other, sample > other))
    if ahead >= 1 - TAIL:
        verdict = f"a constant choice does not do as well: {_constant(constant, theirs)}, more in {ahead:.0%} of them"
    elif behind >= 1 - TAIL:
        verdict = f"a constant choice does better: {_constant(constant, theirs)}, less in {behind:.0%} of them"
    else:
        verdict = f"a constant choice may do as well: {_constant(constant, theirs)}, more in {ahead:.0%} of them"
    return f"{says}; {verdict}."


def _verdict_of_trials(results: dict[str, Any], constant: str | None) -> str:
    if constant is None:
        return "no constant choice was evaluated beside it"
    found = results["comparison"]["methods"][constant][FIGURE]
    p, wins, losses = found["sign_test_p"], found["wins"], found["losses"]
    verdict = "may do as well"
    if p < SIGNIFICANCE_LEVEL:
        verdict = "does not do as well" if wins > losses else "does better"
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
