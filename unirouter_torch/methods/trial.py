"""One trial: what a method may see, how it may choose, and the test that it is judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.data.splits import Split, prompts_that_represent, require_outcomes
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.metrics.deferral import area_under_deferral_curve, deferral_curve
from unirouter_torch.metrics.judged import Truth
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import Centroids, CostVector, Embedding, ErrorMatrix, PromptSubset
from unirouter_torch.training.clustering import centroids_of


class Tuning(NamedTuple):
    """How a method chooses its hyper-parameters without test prompts and unseen LLMs.

    Attributes:
        validation: Seen LLMs on prompts that are not in the training data.
        cost: Cost of the seen LLMs.
        num_calibration: How many prompts will represent an LLM of the evaluated pool.
        area: Area under the deferral curve of estimated errors [prompt llm] for the given outcomes; higher is better.
        centroids: K-means centroids of the training prompts for a number of clusters; computed once a number, whichever
            methods ask.
        seed: Seed of every random draw.
        form_dim: How many of the last columns of an embedding are surface features, which no distance takes in.
        num_clusters: The number of clusters of every method that ``has_clusters``, in [1, number of training prompts];
            None where each chooses its own.
    """

    validation: Outcomes
    cost: CostVector
    num_calibration: int
    area: Callable[[ErrorMatrix, Outcomes], float]
    centroids: Callable[[int], Centroids]
    seed: int
    form_dim: int = 0
    num_clusters: int | None = None


@runtime_checkable
class Fittable(Protocol):
    """What is made without arguments and fitted on a trial, as every routing method is."""

    def fit(self, trial: "Trial") -> None:
        """Learn from the trial."""


FittableT = TypeVar("FittableT", bound=Fittable)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A split of a table, as tensors, with everything that a method may need beside them.

    Attributes:
        config: The run.
        table: The texts of all prompts, and the names and costs of all LLMs.
        embedding: One vector for each prompt of the table.
        split: Rows and columns of the table: which prompts and LLMs are for what.
        others: Other tables to train on.
        train: Seen LLMs on training prompts.
        tuning: Seen LLMs on validation prompts, and how to choose by them.
        calibration: Unseen LLMs on the calibration prompts; where all LLMs are seen, on all training and validation
            prompts.
        calibration_prompts: Rows of these prompts in the table.
        test: Unseen LLMs on test prompts: what only the oracles may see.
        test_source: Number of the source of each test prompt.
        test_cost: Cost of the unseen LLMs.
        clairvoyant: Unseen LLMs on training prompts: what no router may see but the clairvoyant references.
        log_folder: Where learning curves and checkpoints go; None for neither of them.
        fitted_methods: What :meth:`fitted` keeps.
    """

    config: TrainConfig
    table: RoutingTable
    embedding: Embedding
    split: Split
    others: Sequence[OtherTable] = ()
    train: Outcomes
    tuning: Tuning
    calibration: Outcomes
    calibration_prompts: Int[Tensor, " calibration"]
    test: Outcomes
    test_source: Int[Tensor, " test"]
    test_cost: CostVector
    clairvoyant: Outcomes
    log_folder: Path | None = None
    fitted_methods: dict[type[Any], Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def truth(self) -> Truth:
        """What estimates for the test prompts are judged by."""
        return Truth(
            cost=self.test_cost,
            error=self.test.error,
            observed=self.test.observed,
            convention=self.config.evaluation.curve,
            source=self.test_source,
            source_names=tuple(self.table.source_names),
        )

    def fitted(self, kind: type[FittableT]) -> FittableT:
        """The method of a class, fitted on this trial: once, so that methods may build on one another."""
        if kind not in self.fitted_methods:
            method = kind()
            method.fit(self)
            self.fitted_methods[kind] = method
        found = self.fitted_methods[kind]
        assert isinstance(found, kind)
        return found

    def with_calibration(self, prompts: PromptSubset) -> "Trial":
        """The same trial and fits, with the unseen LLMs represented by their outcomes on other prompts.

        Args:
            prompts: Rows of the table.
        """
        outcomes = Outcomes(self.embedding, self.table.error, self.table.observed)
        calibration = outcomes.of_llms(self.split.unseen_llms).of_prompts(prompts)
        return replace(self, calibration=calibration, calibration_prompts=prompts)

    def with_embedding(self, embedding: Embedding) -> "Trial":
        """The same split and draws over other embeddings, with nothing fitted.

        Args:
            embedding: One vector for each prompt of the table.
        """
        return build_trial(
            self.table,
            embedding,
            self.split,
            self.config,
            seed=self.tuning.seed,
            others=self.others,
            form_dim=self.tuning.form_dim,
            num_clusters=self.tuning.num_clusters,
            log_folder=self.log_folder,
        )


def build_trial(
    table: RoutingTable,
    embedding: Embedding,
    split: Split,
    config: TrainConfig,
    *,
    seed: int,
    others: Sequence[OtherTable] = (),
    form_dim: int = 0,
    num_clusters: int | None = None,
    log_folder: Path | None = None,
) -> Trial:
    """Cut a table into what training, tuning, onboarding and testing may see.

    Args:
        table: Observed outcomes and costs.
        embedding: One vector for each prompt of the table.
        split: Which prompts and LLMs go where.
        config: The run: ``data.num_calibration`` says how many validation prompts represent an unseen LLM (see
            :func:`~unirouter_torch.data.splits.prompts_that_represent`), and ``evaluation.curve`` how areas are
            measured when a method is tuned.
        seed: Seed of the calibration prompts and of the methods.
        others: Other tables to train on.
        form_dim: How many of the last columns of an embedding are surface features; K-means leaves them out.
        num_clusters: Number of clusters of the methods that have clusters; they choose it themselves when not given.
        log_folder: Where learning curves and checkpoints go; neither of them without it.

    Raises:
        DataError: The seen LLMs have no outcome on the training or validation prompts, or the unseen ones none on the
            calibration or test prompts.
    """
    outcomes = Outcomes(embedding, table.error, table.observed)
    seen, unseen = outcomes.of_llms(split.seen_llms), outcomes.of_llms(split.unseen_llms)
    seen_cost = table.cost.value[split.seen_llms]
    require_outcomes(table, split, num_calibration=config.data.num_calibration, seed=seed)
    calibration_prompts = prompts_that_represent(split, num_calibration=config.data.num_calibration, seed=seed)

    def area(estimated_error: ErrorMatrix, truth: Outcomes) -> float:
        curve = deferral_curve(estimated_error, seen_cost, truth.error, truth.observed)
        return area_under_deferral_curve(curve, seen_cost, config.evaluation.curve)

    train = seen.of_prompts(split.train_prompts)
    return Trial(
        config=config,
        table=table,
        embedding=embedding,
        split=split,
        others=others,
        train=train,
        tuning=Tuning(
            validation=seen.of_prompts(split.validation_prompts),
            cost=seen_cost,
            num_calibration=len(calibration_prompts),
            area=area,
            centroids=centroids_of(train.embedding[:, : embedding.shape[1] - form_dim], seed),
            seed=seed,
            form_dim=form_dim,
            num_clusters=num_clusters,
        ),
        calibration=unseen.of_prompts(calibration_prompts),
        calibration_prompts=calibration_prompts,
        test=unseen.of_prompts(split.test_prompts),
        test_source=table.source_index[split.test_prompts],
        test_cost=table.cost.value[split.unseen_llms],
        clairvoyant=unseen.of_prompts(split.train_prompts),
        log_folder=log_folder,
    )
