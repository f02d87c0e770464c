"""What every routing method does: fit on seen LLMs, represent an LLM, estimate errors."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Generic, TypeVar

import torch

from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Embedding, ErrorMatrix

FeaturesT = TypeVar("FeaturesT")


class RoutingMethod(ABC, Generic[FeaturesT]):
    """A way to estimate the error of LLMs that it was not fitted on, from their outcomes on calibration prompts.

    A method is made without arguments: what it may know comes with its trial.

    Attributes:
        name: What ``evaluation.methods`` calls it; one of another package needs none, for its entry point or
            ``package.module:Class`` names it.
        title: What tables and figures call it; its name where it has none.
        place: Where tables list it, rising; those of other packages come last.
        is_reference: Whether it is a bound rather than a router: figures show it only where it lies within their axes.
        is_clairvoyant: Whether it knows the outcomes of the LLMs that are onboarded on training prompts, so that none
            of them joins alone.
        is_oracle: Whether it knows the outcomes on the test prompts.
        has_clusters: Whether a sweep over the number of clusters varies it.
        trains_head: Whether its fit trains a cluster head, on all devices at once and on the tables of ``data.tables``.
        needs_other_tables: Whether it cannot do without ``data.tables``.
        is_stage: Whether it is a stage or a special case of another one, compared only where it is asked for by name.
        is_tuned_to_num_calibration: Whether its fit depends on how many prompts will represent an LLM.
        settings: Keys of the config, and whole sections of it, that its fit depends on.
    """

    name: ClassVar[str]
    title: ClassVar[str] = ""
    place: ClassVar[int] = 100
    is_reference: ClassVar[bool] = False
    is_clairvoyant: ClassVar[bool] = False
    is_oracle: ClassVar[bool] = False
    has_clusters: ClassVar[bool] = False
    trains_head: ClassVar[bool] = False
    needs_other_tables: ClassVar[bool] = False
    is_stage: ClassVar[bool] = False
    is_tuned_to_num_calibration: ClassVar[bool] = True
    settings: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fit(self, trial: Trial) -> None:
        """Learn from the outcomes of seen LLMs on training prompts, ``trial.train``.

        Args:
            trial: ``trial.tuning`` is for the choice of hyper-parameters. A router sees neither ``trial.clairvoyant``
                nor ``trial.test``.
        """

    @abstractmethod
    def represent(self, calibration: Outcomes) -> FeaturesT:
        """Features of the LLMs in ``calibration``, from their outcomes alone: nothing is trained."""

    @abstractmethod
    def estimate_error(self, embedding: Embedding, features: FeaturesT) -> ErrorMatrix:
        """Estimated error in [0, 1] of the represented LLMs on prompts with the given embeddings."""

    def view(self, trial: Trial) -> Trial:
        """The trial as the fitted method sees it: another where it has embeddings or calibration prompts of its own.

        ``represent`` gets the calibration outcomes of the view, ``estimate_error`` the embeddings of its test prompts.
        """
        return trial

    def describe(self) -> dict[str, int | float]:
        """What the fit chose, for the report; empty when there is nothing to choose."""
        return {}


CandidateT = TypeVar("CandidateT")

NUM_TUNING_DRAWS = 5


def choose_by_area(
    candidates: list[CandidateT],
    estimate: Callable[[Outcomes], Iterable[ErrorMatrix]],
    trial: Trial,
) -> CandidateT:
    """The candidate whose estimates give seen LLMs the largest area on validation prompts.

    Seen LLMs are represented by as many training prompts as will represent an unseen LLM, in several random draws, so
    that the choice is made under the conditions in which it will be used.

    Args:
        candidates: Values to choose from; the earlier one wins a tie.
        estimate: Estimated errors on the validation prompts from calibration outcomes, once for each candidate, in
            their order.
        trial: Seen LLMs on training and validation prompts, and the measure of area.

    Returns:
        One of the candidates.

    Source: UniRoute (arXiv:2502.08773), choice of the number of clusters.
    """
    train, tuning = trial.train, trial.tuning
    generator = torch.Generator().manual_seed(tuning.seed)
    num_prompts = train.embedding.shape[0]
    draws = [torch.randperm(num_prompts, generator=generator) for _ in range(NUM_TUNING_DRAWS)]
    calibrations = [train.of_prompts(draw[: tuning.num_calibration]) for draw in draws]

    total = torch.zeros(len(candidates), dtype=torch.float64)
    for calibration in calibrations:
        areas = [tuning.area(estimated, tuning.validation) for estimated in estimate(calibration)]
        total += torch.tensor(areas, dtype=torch.float64)
    return candidates[int(total.argmax())]


def cluster_counts(grid: Sequence[int], trial: Trial) -> list[int]:
    """The number of clusters that the trial sets, else those of a grid that suit it.

    Args:
        grid: Numbers of clusters to choose from.
        trial: A number suits where it leaves a training and a calibration prompt to each cluster.

    Returns:
        At least one number: 1 where none of the grid suits.
    """
    if trial.tuning.num_clusters is not None:
        return [trial.tuning.num_clusters]
    most = min(trial.train.embedding.shape[0], trial.tuning.num_calibration)
    return [number for number in grid if number <= most] or [1]
