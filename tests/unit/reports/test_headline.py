"""The sentence at the top: saving, how sure it is, and what a constant choice does."""

import math
from typing import Any

import torch

from unirouter_torch.metrics.deferral import DeferralCurve
from unirouter_torch.metrics.figures import FIGURE_OF
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.reports.headline import headline_of_run, headline_of_trials

CURVE = DeferralCurve(*(torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0, 0.5)))


def scores(share: float | None, *resampled: float) -> MethodScores:
    sample = torch.tensor(resampled, dtype=torch.float64)
    return MethodScores(figures=dict.fromkeys(FIGURE_OF) | {"cost_at_99": share}, curve=CURVE, resampled_cost=sample)


def results(router: float | None, zero: float | None, *, wins: int = 0, losses: int = 0, p: float = 1.0) -> Any:
    reached = {"end_to_end": 0 if router is None else 8, "zero": 0 if zero is None else 10}
    return {
        "num_trials": 10,
        "methods": {"zero": {"cost_at_99": zero}, "end_to_end": {"cost_at_99": router}},
        "intervals": {"end_to_end": {"cost_at_99": [0.25, 0.35]}},
        "reached": {name: {"cost_at_99": number} for name, number in reached.items()},
        "comparison": {
            "reference": "end_to_end",
            "methods": {"zero": {"cost_at_99": {"wins": wins, "losses": losses, "sign_test_p": p}}},
        },
    }


def test_trials_say_saving_interval_reach_and_that_a_constant_is_worse() -> None:
    assert headline_of_trials(results(0.3, 0.6, wins=10, losses=0, p=0.002)) == (
        "At 99% of the quality of the best single LLM, End-to-end would have saved 70% of its cost (95% interval 65% "
        "to 75%; 8 of 10 trials reach it); a constant choice does not do as well: ZeroRouter costs 60% of that LLM; "
        "the router is cheaper in 10 trials and more expensive in 0 (p = 0.002)."
    )


def test_verdict_follows_the_sign_test() -> None:
    assert "may do as well" in headline_of_trials(results(0.3, 0.31, wins=6, losses=4, p=0.75))
    assert "does better" in headline_of_trials(results(0.3, 0.2, wins=0, losses=10, p=0.002))


def test_quality_that_is_never_reached_saves_nothing() -> None:
    assert "saved nothing: it reaches that quality in none of 10 trials." in headline_of_trials(results(None, 0.5))
    assert "ZeroRouter never reaches that quality" in headline_of_trials(results(0.3, None, wins=8, p=0.008))
    assert "saved nothing: it does not reach that quality." in headline_of_run(
        {"end_to_end": scores(None)}, "end_to_end"
    )


def test_router_that_costs_more_than_the_best_llm_saves_nothing() -> None:
    assert "saved nothing: it costs 120% of that LLM" in headline_of_trials(results(1.2, 0.5, wins=0, losses=8, p=0.01))


def test_without_a_constant_among_the_methods_nothing_is_said_of_one() -> None:
    found = results(0.3, 0.6)
    del found["methods"]["zero"]
    assert headline_of_trials(found).endswith("; no constant choice was evaluated beside it.")
    assert headline_of_run({"end_to_end": scores(0.3, 0.3)}, "end_to_end").endswith("was evaluated beside it.")


def test_run_says_how_far_its_resamples_scatter() -> None:
    sample = [0.25 + 0.001 * step for step in range(100)]
    methods = {"zero": scores(0.6, *[0.6] * 100), "end_to_end": scores(0.3, *sample)}
    assert headline_of_run(methods, "end_to_end") == (
        "At 99% of the quality of the best single LLM, End-to-end would have saved 70% of its cost (95% interval 65% "
        "to 75% over 100 resamples of the test prompts); a constant choice does not do as well: ZeroRouter costs 60% "
        "of that LLM, more in 100% of them."
    )


def test_run_compares_resample_by_resample_and_counts_those_that_miss() -> None:
    methods = {
        "zero": scores(0.3, 0.2, 0.4, math.inf, 0.4),
        "end_to_end": scores(0.3, 0.3, 0.3, math.inf, 0.3),
    }
    says = headline_of_run(methods, "end_to_end")
    assert "95% interval nothing to 70% over 4 resamples" in says
    assert "1 of which do not reach it" in says
    assert "may do as well: ZeroRouter costs 30% of that LLM, more in 50% of them" in says
    assert "does better" in headline_of_run(
        {"zero": scores(0.1, *[0.1] * 4), "end_to_end": methods["end_to_end"]}, "end_to_end"
    )
