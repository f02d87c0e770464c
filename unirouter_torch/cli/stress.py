"""``unirouter stress``: what disturbs the methods, and how much."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from unirouter_torch.cli.evaluate import TrialOptions
from unirouter_torch.cli.options import Shown
from unirouter_torch.cli.output import plain_console, print_places


@dataclass(frozen=True, kw_only=True)
class StressOptions(TrialOptions):
    """Options of ``unirouter stress``."""

    only: Annotated[list[str] | None, Shown(metavar="NAME")] = None
    """Stresses to run, by the names of the documentation; all when not given."""


def stress(options: StressOptions, settings: list[str]) -> None:
    """Disturb training, calibration and test data, and measure what each method loses."""
    from rich.markdown import Markdown

    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.stress import run_stress

    config = parse_config(settings, program="unirouter stress")
    report = run_stress(config, num_trials=options.trials, num_workers=options.workers, only=options.only)
    console = plain_console()
    console.print(Markdown(report.overview()))
    folder = Path(config.output_dir) / "stress"
    print_places(
        console,
        {"report": folder / "stress.md", "numbers": folder / "stress.json", "pictures": folder / "*.png"},
    )
