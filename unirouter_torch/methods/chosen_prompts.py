"""Calibration prompts that are chosen for what they tell, not drawn."""

from typing import NamedTuple

import torch

from unirouter_torch.methods.trial import Trial
from unirouter_torch.routing.cluster_error import sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment, select_prompts
from unirouter_torch.shapes import PromptSubset


class CalibrationChoice(NamedTuple):
    """The prompts that represent an LLM.

    Attributes:
        prompts: Their rows in the table.
        adjustment: What an error on each counts; None where it counts as it is.
    """

    prompts: PromptSubset
    adjustment: OutcomeAdjustment | None


@torch.no_grad()
def choose_calibration(head: ClusterHead, trial: Trial) -> CalibrationChoice:
    """Choose training and validation prompts by the outcomes of the seen LLMs on them.

    Args:
        head: A trained head.
        trial: Outcomes and embeddings; those of unseen LLMs and of test prompts play no part. As many prompts are
            chosen as ``data.num_calibration`` says, all of them where there are fewer.
    """
    table, split = trial.table, trial.split
    candidates = torch.cat([split.train_prompts, split.validation_prompts]).sort().values
    error = table.error[candidates][:, split.seen_llms]
    observed = table.observed[candidates][:, split.seen_llms]
    probability = head(trial.embedding[candidates])
    cluster_error = head.cluster_error(sum_by_cluster(probability, error, observed))
    chosen = select_prompts(probability, error, observed, cluster_error, trial.config.data.num_calibration)
    return CalibrationChoice(candidates[chosen.rows], chosen.adjustment)
