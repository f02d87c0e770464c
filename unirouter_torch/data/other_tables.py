"""Tables that a router trains on beside the one that it is made for, or without any."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from unirouter_torch.data.table import RoutingTable
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.shapes import CostVector, Embedding

VALIDATION_FRACTION = 0.1


class OtherTable(NamedTuple):
    """All LLMs of a table, on prompts to train on and on a tenth kept for validation.

    Attributes:
        name: Name of the table.
        content_hash: Tells the table from every other one.
        train: Outcomes to train on.
        validation: Outcomes to validate on.
        cost: Cost of the LLMs.
        train_texts: Prompts to train on.
        validation_texts: Prompts to validate on.
        form_dim: How many of the last columns of an embedding are surface features.
    """

    name: str
    content_hash: str
    train: Outcomes
    validation: Outcomes
    cost: CostVector
    train_texts: list[str]
    validation_texts: list[str]
    form_dim: int = 0

    @classmethod
    def of(
        cls, table: RoutingTable, embedding: Embedding, rows: Int[Tensor, " kept"], form_dim: int = 0
    ) -> "OtherTable":
        """Part some prompts of a table at random, always in the same way.

        Args:
            table: The outcomes.
            embedding: One vector for each prompt of the table.
            rows: The prompts to use, at least 2.
            form_dim: How many of the last columns of an embedding are surface features.
        """
        outcomes = Outcomes(embedding, table.error, table.observed)
        order = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
        num_validation = max(1, round(VALIDATION_FRACTION * len(rows)))
        texts = [table.prompt_texts[row] for row in order.tolist()]
        return cls(
            name=table.name,
            content_hash=table.content_hash,
            train=outcomes.of_prompts(order[num_validation:]),
            validation=outcomes.of_prompts(order[:num_validation]),
            cost=table.cost.value,
            train_texts=texts[num_validation:],
            validation_texts=texts[:num_validation],
            form_dim=form_dim,
        )
