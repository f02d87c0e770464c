"""A method on a trial: fitted, its LLMs onboarded, its estimates measured and scored."""

from typing import Any, NamedTuple

import torch

from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.metrics.scores import MethodScores, score
from unirouter_torch.metrics.stages import StageCost, measure
from unirouter_torch.shapes import ErrorMatrix


class MethodRun(NamedTuple):
    """Estimates of a method for the test prompts, and what each stage took.

    Attributes:
        method: The fitted method.
        estimated_error: Estimated error of each unseen LLM on each test prompt.
        stages: ``fit`` on seen LLMs, ``onboard`` the unseen ones by their calibration outcomes, ``score`` the test,
            and ``onboard_one`` where an LLM can join alone. A fit that another method has asked for already takes
            nothing.
    """

    method: RoutingMethod[Any]
    estimated_error: ErrorMatrix
    stages: dict[str, StageCost]


def run_method(kind: type[RoutingMethod[Any]], trial: Trial) -> MethodRun:
    """Fit a method on seen LLMs, represent the unseen ones by their calibration outcomes, estimate the test errors."""

    def fit() -> tuple[RoutingMethod[Any], Trial]:
        method = trial.fitted(kind)
        return method, method.view(trial)

    (method, view), fitted = measure(fit)
    features, onboard = measure(lambda: method.represent(view.calibration))
    with torch.inference_mode():
        estimated, score = measure(lambda: method.estimate_error(view.test.embedding, features))
    stages = {"fit": fitted, "onboard": onboard, "score": score}
    if not kind.is_clairvoyant:
        one = view.calibration.of_llms(torch.tensor([0]))
        _, stages["onboard_one"] = measure(lambda: method.represent(one))
    return MethodRun(method, estimated, stages)


def estimate_test(method: RoutingMethod[Any], trial: Trial) -> ErrorMatrix:
    """Estimates of a fitted method for the test prompts of a trial."""
    view = method.view(trial)
    features = method.represent(view.calibration)
    with torch.inference_mode():
        return method.estimate_error(view.test.embedding, features)


def score_on_trial(kind: type[RoutingMethod[Any]], trial: Trial) -> MethodScores:
    """Fit a method on a trial and score it on the test."""
    return score(Judged(estimate_test(trial.fitted(kind), trial), trial.truth))
