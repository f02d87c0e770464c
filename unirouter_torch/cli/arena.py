"""``unirouter arena``: a submission to RouterArena, and its score."""

from dataclasses import dataclass
from typing import Literal

from unirouter_torch.cli.options import Folder, Name, SavedRouter
from unirouter_torch.cli.output import open_router, plain_console, print_places
from unirouter_torch.config.choice import BackendOptions


@dataclass(frozen=True, kw_only=True)
class SubmissionOptions:
    """Which submission in which clone."""

    clone: Folder
    """Clone of RouterArena's repository with prepared data."""
    name: Name
    """Name of the submission: letters, digits, '.', '_' and '-'."""


@dataclass(frozen=True, kw_only=True)
class PredictOptions(BackendOptions, SubmissionOptions):
    """Options of ``unirouter arena predict``."""

    router: SavedRouter
    """Folder of a saved router; its LLMs are named as RouterArena names them."""
    split: Literal["full", "sub_10"] = "full"
    """Prompts: full for a submission, sub_10 to try."""
    cost_weight: float | None = None
    """Error accepted to save the reference cost of the router, at least 0; the router's own when not given."""


def predict(options: PredictOptions) -> None:
    """Choose an LLM for every prompt of RouterArena and write the files of a submission; nothing is trained."""
    from unirouter_torch.experiments.router_arena import write_submission

    router = open_router(options.router, options.backend)
    files = write_submission(router, options.clone, options.name, split=options.split, cost_weight=options.cost_weight)
    print_places(plain_console(), {part: file for part, file in files._asdict().items() if file.exists()})


def score_predictions(options: SubmissionOptions) -> None:
    """Compute RouterArena's score of graded predictions."""
    from unirouter_torch.experiments.router_arena import score_submission

    found = score_submission(options.clone, options.name)
    console = plain_console()
    console.print(f"score       {found.score:.4f}")
    console.print(f"accuracy    {found.accuracy:.4f} of {found.num_graded:,} graded of {found.num_prompts:,} prompts")
    console.print(f"cost        {found.cost_per_thousand:.4f} US dollars per 1,000 prompts")
    if found.robustness is not None:
        console.print(f"robustness  {found.robustness:.4f}")
