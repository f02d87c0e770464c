"""Calibration prompts that are chosen for what they tell, not drawn."""

from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.data.splits import Split
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.metrics.scores import MethodScores, score
from unirouter_torch.reports.report import EvaluationReport
from unirouter_torch.routing.cluster_error import estimate_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment, select_prompts, sum_adjusted
from unirouter_torch.shapes import Embedding, ErrorMatrix, PromptSubset


class CalibrationChoice(NamedTuple):
    """The prompts that represent an LLM.

    Attributes:
        prompts: Their rows in the table.
        adjustment: What an error on each counts; None where it counts as it is.
    """

    prompts: PromptSubset
    adjustment: OutcomeAdjustment | None


@torch.no_grad()
def choose_calibration(
    head: ClusterHead, embedding: Embedding, table: RoutingTable, split: Split, num_prompts: int
) -> CalibrationChoice:
    """Choose training and validation prompts by the outcomes of the seen LLMs on them.

    Args:
        head: A trained head.
        embedding: Of all prompts of the table.
        table: Outcomes; those of unseen LLMs and of test prompts play no part.
        split: Which prompts and LLMs these are.
        num_prompts: How many; all of them where there are fewer.
    """
    candidates = torch.cat([split.train_prompts, split.validation_prompts]).sort().values
    error = table.error[candidates][:, split.seen_llms]
    observed = table.observed[candidates][:, split.seen_llms]
    probability = head(embedding[candidates])
    cluster_error = head.cluster_error(sum_by_cluster(probability, error, observed))
    chosen = select_prompts(probability, error, observed, cluster_error, num_prompts)
    return CalibrationChoice(candidates[chosen.rows], chosen.adjustment)


@torch.no_grad()
def estimate_by_choice(
    head: ClusterHead, embedding: Embedding, table: RoutingTable, split: Split, choice: CalibrationChoice
) -> Float[Tensor, "test llm"]:
    """Estimated error of the unseen LLMs on the test prompts, each represented by its outcomes on chosen prompts."""
    probability = head(embedding[choice.prompts])
    error = table.error[choice.prompts][:, split.unseen_llms]
    observed = table.observed[choice.prompts][:, split.unseen_llms]
    features = head.cluster_error(sum_adjusted(probability, error, observed, choice.adjustment))
    return estimate_error(head(embedding[split.test_prompts]), features)


def report_chosen(report: EvaluationReport, estimated: ErrorMatrix, trial: Trial) -> EvaluationReport:
    """The report with chosen prompts in ``end_to_end``, and drawn ones in ``end_to_end_random``."""
    scores = score(Judged(estimated, trial.truth))
    methods: dict[str, MethodScores] = {}
    for name, found in report.methods.items():
        methods |= {"end_to_end_random": found, "end_to_end": scores} if name == "end_to_end" else {name: found}
    return replace(report, methods=methods)
