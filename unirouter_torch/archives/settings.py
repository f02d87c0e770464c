"""Settings of a run over an archive."""

from dataclasses import dataclass

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.choice import WeightedChoiceOptions


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(WeightedChoiceOptions):
    """How the prompts of an archive are routed."""

    column: str = "prompt"
    """Column of the prompts."""
    all_estimates: bool = False
    """Write the estimated errors of all LLMs, not of the chosen one alone."""
    batch_size: int = 4096
    """Prompts held at a time, at least 1; memory and speed depend on it, and nothing else."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("batch_size", self.batch_size, 1)
