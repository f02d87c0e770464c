"""The prompts and outcomes that encoder and head are trained on, of one table or several."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.data.splits import Split
from unirouter_torch.evaluation.trials import Trial
from unirouter_torch.routing.method import Outcomes
from unirouter_torch.training.other_tables import OtherTable


class JointPart(NamedTuple):
    """Outcomes on some prompts, and where these stand among all prompts.

    Attributes:
        outcomes: With the embeddings of the frozen encoder.
        rows: Row of each prompt in :attr:`JointTables.texts`.
    """

    outcomes: Outcomes
    rows: Int[Tensor, " prompt"]


class JointTables(NamedTuple):
    """What encoder and head are trained and validated on.

    Attributes:
        texts: Prompts of all tables.
        train: Training LLMs on training prompts, one part for each table.
        validation: The same LLMs on validation prompts, of the first of these tables, which decide the step to keep.
        num_calibration: Training prompts that represent the LLMs in validation.
        seed: Seed of the episodes, of the draws for validation and of the first weights of ``lora``.
    """

    texts: list[str]
    train: list[JointPart]
    validation: list[JointPart]
    num_calibration: int
    seed: int


def tables_of_trial(texts: Sequence[str], split: Split, trial: Trial, others: Sequence[OtherTable] = ()) -> JointTables:
    """The table of a trial, which alone decides, and the training prompts of others.

    Args:
        texts: All prompts of the table.
        split: Which of them train and validate.
        trial: The outcomes of this split.
        others: Other tables to train on.
    """
    tuning = trial.tuning
    joint = JointTables(
        texts=list(texts),
        train=[JointPart(trial.train, split.train_prompts)],
        validation=[JointPart(tuning.validation, split.validation_prompts)],
        num_calibration=tuning.num_calibration,
        seed=tuning.seed,
    )
    for other in others:
        joint.train.append(_add(joint.texts, other.train, other.train_texts))
    return joint


def tables_alone(others: Sequence[OtherTable], *, num_calibration: int, seed: int) -> JointTables:
    """Several tables, all of which decide.

    Args:
        others: The tables, at least one.
        num_calibration: Training prompts that represent the LLMs in validation.
        seed: Seed of all draws.
    """
    joint = JointTables(texts=[], train=[], validation=[], num_calibration=num_calibration, seed=seed)
    for other in others:
        joint.train.append(_add(joint.texts, other.train, other.train_texts))
        joint.validation.append(_add(joint.texts, other.validation, other.validation_texts))
    return joint


def _add(texts: list[str], outcomes: Outcomes, its_texts: Sequence[str]) -> JointPart:
    start = len(texts)
    texts += its_texts
    return JointPart(outcomes, torch.arange(start, len(texts)))
