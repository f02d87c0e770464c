"""The prompts and outcomes that encoder and head are trained on, of one table or several."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.routing.outcomes import Outcomes


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


def tables_alone(others: Sequence[OtherTable], *, num_calibration: int, seed: int) -> JointTables:
    """Several tables, all of which decide.

    Args:
        others: The tables, at least one.
        num_calibration: Training prompts that represent the LLMs in validation.
        seed: Seed of all draws.
    """
    joint = JointTables(texts=[], train=[], validation=[], num_calibration=num_calibration, seed=seed)
    for other in others:
        joint.train.append(add_part(joint.texts, other.train, other.train_texts))
        joint.validation.append(add_part(joint.texts, other.validation, other.validation_texts))
    return joint


def add_part(texts: list[str], outcomes: Outcomes, its_texts: Sequence[str]) -> JointPart:
    """Append prompts to a list of texts; the part says where they are in it."""
    start = len(texts)
    texts += its_texts
    return JointPart(outcomes, torch.arange(start, len(texts)))
