"""One trial: the outcomes that a method may see, and the test that it is judged by."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.config.training import CurveConvention
from unirouter_torch.data.splits import Split, draw_calibration
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.errors import DataError
from unirouter_torch.methods.method import FeaturesT, RoutingMethod, Tuning
from unirouter_torch.metrics.deferral import area_under_deferral_curve, deferral_curve
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.scores import MethodScores, score
from unirouter_torch.metrics.stages import StageCost, measure
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids, CostVector, Embedding, ErrorMatrix, PromptSubset


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A split of a table, as tensors.

    Attributes:
        train: Seen LLMs on training prompts.
        tuning: Seen LLMs on validation prompts, and how to choose by them.
        calibration: Unseen LLMs on the calibration prompts.
        calibration_prompts: Rows of the calibration prompts in the table.
        test: Unseen LLMs on test prompts.
        test_source: Number of the source of each test prompt.
        test_cost: Cost of the unseen LLMs.
        truth: What estimates for the test prompts are judged by.
        clairvoyant: Unseen LLMs on training prompts: what no router may see but the clairvoyant references.
    """

    train: Outcomes
    tuning: Tuning
    calibration: Outcomes
    calibration_prompts: PromptSubset
    test: Outcomes
    test_source: Int[Tensor, " test"]
    test_cost: CostVector
    truth: Truth
    clairvoyant: Outcomes


def build_trial(
    table: RoutingTable,
    embedding: Embedding,
    split: Split,
    *,
    num_calibration: int,
    convention: CurveConvention,
    seed: int,
    form_dim: int = 0,
    centroids_of: Callable[[Embedding, int], Callable[[int], Centroids]],
) -> Trial:
    """Cut a table into what training, tuning, onboarding and testing may see.

    Args:
        table: Observed outcomes and costs.
        embedding: One vector for each prompt of the table.
        split: Which prompts and LLMs go where.
        num_calibration: How many validation prompts represent an unseen LLM; all of them where there are fewer.
        convention: How areas are measured when a method is tuned.
        seed: Seed of the calibration prompts and of the methods.
        form_dim: How many of the last columns of an embedding are surface features; K-means leaves them out.
        centroids_of: Given an embedding and a seed, centroids for any number of clusters.

    Raises:
        DataError: The seen LLMs have no outcome on the training or validation prompts, or the unseen ones none on the
            calibration or test prompts.
    """
    outcomes = Outcomes(embedding, table.error, table.observed)
    seen, unseen = outcomes.of_llms(split.seen_llms), outcomes.of_llms(split.unseen_llms)
    seen_cost = table.cost.value[split.seen_llms]
    calibration_prompts = draw_calibration(split, num_prompts=num_calibration, seed=seed)

    def area(estimated_error: ErrorMatrix, truth: Outcomes) -> float:
        curve = deferral_curve(estimated_error, seen_cost, truth.error, truth.observed)
        return area_under_deferral_curve(curve, seen_cost, convention)

    train, test = seen.of_prompts(split.train_prompts), unseen.of_prompts(split.test_prompts)
    test_source, test_cost = table.source_index[split.test_prompts], table.cost.value[split.unseen_llms]
    trial = Trial(
        train=train,
        tuning=Tuning(
            validation=seen.of_prompts(split.validation_prompts),
            cost=seen_cost,
            num_calibration=len(calibration_prompts),
            area=area,
            centroids=centroids_of(train.embedding[:, : embedding.shape[1] - form_dim], seed),
            seed=seed,
            form_dim=form_dim,
        ),
        calibration=unseen.of_prompts(calibration_prompts),
        calibration_prompts=calibration_prompts,
        test=test,
        test_source=test_source,
        test_cost=test_cost,
        truth=Truth(
            cost=test_cost,
            error=test.error,
            observed=test.observed,
            convention=convention,
            source=test_source,
            source_names=tuple(table.source_names),
        ),
        clairvoyant=unseen.of_prompts(split.train_prompts),
    )
    _require_outcomes(table.name, seed, "seen", {"training": trial.train, "validation": trial.tuning.validation})
    _require_outcomes(table.name, seed, "unseen", {"calibration": trial.calibration, "test": trial.test})
    return trial


def _require_outcomes(table: str, seed: int, llms: str, parts: dict[str, Outcomes]) -> None:
    for prompts, outcomes in parts.items():
        if not outcomes.observed.any():
            raise DataError(
                f"{table}: with seed {seed} the {llms} LLMs have no outcome on the {prompts} prompts. Add outcomes, "
                "change data.unseen_fraction, or try another seed."
            )


class StageOutcome(NamedTuple):
    """Estimates of a method for the test prompts, and what each stage took.

    Attributes:
        estimated_error: Estimated error of each unseen LLM on each test prompt.
        stages: ``fit`` on seen LLMs, ``onboard`` the unseen ones by their calibration outcomes, ``score`` the test.
    """

    estimated_error: ErrorMatrix
    stages: dict[str, StageCost]


def run_method(method: RoutingMethod[FeaturesT], trial: Trial) -> StageOutcome:
    """Fit a method on seen LLMs, represent the unseen ones by their calibration outcomes, estimate the test errors."""
    _, fit = measure(lambda: method.fit(trial.train, trial.tuning))
    features, onboard = measure(lambda: method.represent(trial.calibration))
    with torch.inference_mode():
        estimated, score = measure(lambda: method.estimate_error(trial.test.embedding, features))
    return StageOutcome(estimated, {"fit": fit, "onboard": onboard, "score": score})


@torch.inference_mode()
def apply_method(method: RoutingMethod[FeaturesT], trial: Trial) -> ErrorMatrix:
    """Estimates of a fitted method for the test prompts."""
    return method.estimate_error(trial.test.embedding, method.represent(trial.calibration))


def evaluate_method(method: RoutingMethod[FeaturesT], trial: Trial) -> MethodScores:
    """Run a method and judge it on the test."""
    return score(Judged(run_method(method, trial).estimated_error, trial.truth))
