"""Settings of a distillation."""

from dataclasses import dataclass
from typing import Literal

from unirouter_torch.config.checks import at_least, positive

TableDtype = Literal["float32", "float16", "int8"]


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """How a transformer becomes a static encoder."""

    dim: int = 256
    """Length of an embedding, at least 1; at most the transformer's is used."""
    dtype: TableDtype = "int8"
    """How the table is kept in files: ``float32``, ``float16``, or ``int8`` with a scale for each row."""
    form_weight: float = 1.0
    """Weight of surface features beside the embedding, at least 0; 0 leaves them out."""
    num_passes: int = 12
    """Passes over the prompts at most, at least 0; they end where the cosine on held-out prompts stops rising."""
    batch_size: int = 256
    """Prompts in a step, at least 1."""
    learning_rate: float = 0.01
    """Step of Adam, as a share of the root mean square of the table, positive."""
    seed: int = 0
    """Seed of the held-out prompts and of the order of prompts."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, least in (("dim", 1), ("form_weight", 0), ("num_passes", 0), ("batch_size", 1), ("seed", 0)):
            at_least(name, getattr(self, name), least)
        positive("learning_rate", self.learning_rate)
