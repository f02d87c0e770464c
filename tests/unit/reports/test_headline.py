"""The sentence at the top: saving, how sure it is, and what a constant choice does."""

import math
from typing import Any

import pytest
import torch

from unirouter_torch.metrics.deferral import DeferralCurve
from unirouter_torch.metrics.figures import FIGURE_OF
from unirouter_torch.metrics.scores import MethodScores
from unirouter_torch.reports.headline import doubt_of_run, headline_of_run, headline_of_trials

CURVE = DeferralCurve(*(torch.tensor([value], dtype=torch.float64) for value in (0.0, 1.0, 0.5)))


def scores(share: float | None, *resampled: float) -> MethodScores:
    sample = torch.tensor(resampled, dtype=torch.float64)
    return MethodScores(figures=dict.fromkeys(FIGURE_OF) | {"cost_at_99": share}, curve=CURVE, resampled_cost=sample)


def of_run(methods: dict[str, MethodScores]) -> str:
    return headline_of_run(methods, "end_to_end", best_llm="heron", num_prompts=640)


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
    assert of_run({"end_to_end": scores(None, math.inf)}).startswith(
        "End-to-end would have saved nothing: it does not reach 99% of the quality of heron, 640 prompts; "
    )


def test_router_that_costs_more_than_the_best_llm_saves_nothing() -> None:
    assert "saved nothing: it costs 120% of that LLM" in headline_of_trials(results(1.2, 0.5, wins=0, losses=8, p=0.01))
    assert "would have saved nothing: it costs 120% of it [120%, 120%]" in of_run({"end_to_end": scores(1.2, 1.2)})


def test_without_a_constant_among_the_methods_nothing_is_said_of_one() -> None:
    found = results(0.3, 0.6)
    del found["methods"]["zero"]
    assert headline_of_trials(found).endswith("; no constant choice was evaluated beside it.")
    assert of_run({"end_to_end": scores(0.3, 0.3)}).endswith("; no constant choice was evaluated beside it.")


def test_run_says_how_far_its_resamples_scatter_and_what_a_constant_costs() -> None:
    sample = [0.25 + 0.001 * step for step in range(100)]
    methods = {"zero": scores(0.6, *[0.6] * 100), "end_to_end": scores(0.3, *sample)}
    assert of_run(methods) == (
        "At 99% of the quality of heron, End-to-end costs 30% of it [25%, 35%], 640 prompts; a constant choice does "
        "not do as well: ZeroRouter costs 60%, more in 100% of 100 resamples."
    )


def test_run_compares_resample_by_resample() -> None:
    methods = {
        "zero": scores(0.3, 0.2, 0.4, math.inf, 0.4),
        "end_to_end": scores(0.3, 0.3, 0.3, math.inf, 0.3),
    }
    says = of_run(methods)
    assert "[30%, not reached]" in says
    assert "may do as well: ZeroRouter costs 30%, more in 50% of 4 resamples" in says
    assert "a constant choice does better" in of_run(methods | {"zero": scores(0.1, *[0.1] * 4)})


def test_run_names_simpler_methods_that_do_as_well_or_better_but_no_oracle() -> None:
    methods = {
        "item_response": scores(0.3, 0.3, 0.5, 0.3, 0.5),
        "knn": scores(0.4, 0.2, 0.9, 0.4, 0.9),
        "learned_map": scores(0.1, *[0.1] * 4),
        "kmeans": scores(None, *[math.inf] * 4),
        "end_to_end": scores(0.3, *[0.4] * 4),
        "oracle": scores(0.05, *[0.05] * 4),
    }
    assert of_run(methods).endswith(
        "; Item response (30%) and K-NN (40%) may do as well; UniRoute LearnedMap (10%) does better; UniRoute K-means "
        "(not reached) does not do as well."
    )


@pytest.mark.parametrize(
    ("sample", "num_prompts", "reason"),
    [
        ([0.2, 0.3], 640, ""),
        ([0.2, 1.1], 640, "the interval reaches beyond 100%"),
        ([0.2, math.inf], 640, "the interval reaches beyond 100%"),
        ([1.1, 1.3], 640, ""),
        ([0.2, 0.3], 18, "it has 18 prompts"),
        ([0.2, 1.3], 18, "it has 18 prompts and the interval reaches beyond 100%"),
    ],
)
def test_test_that_is_too_small_to_tell_is_called_so(sample: list[float], num_prompts: int, reason: str) -> None:
    says = doubt_of_run({"end_to_end": scores(0.3, *sample)}, "end_to_end", num_prompts=num_prompts)
    assert says == (f"The test is too small to tell: {reason}. Add prompts." if reason else "")
