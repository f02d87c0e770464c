"""``unirouter stress``: what disturbs the methods, and how much."""

import argparse
from pathlib import Path

from rich.markdown import Markdown

from unirouter_torch.cli.output import SETTINGS_EPILOG, Commands, add_trial_arguments, plain_console, print_places


def add_stress(commands: Commands) -> None:
    """Declare ``unirouter stress``."""
    parser = commands.add_parser(
        "stress",
        help="disturb training, calibration and test data, and measure what each method loses",
        epilog=SETTINGS_EPILOG,
    )
    add_trial_arguments(parser)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="stresses to run, as docs/evidence/stress.md names them (default: all)",
    )
    parser.set_defaults(run=stress, takes_settings=True)


def stress(options: argparse.Namespace, rest: list[str]) -> None:
    """Run every method under every stress."""
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.stress import run_stress

    config = parse_config(rest, program="unirouter stress")
    report = run_stress(config, num_trials=options.trials, num_workers=options.workers, only=options.only)
    console = plain_console()
    console.print(Markdown(report.overview()))
    folder = Path(config.output_dir) / "stress"
    print_places(
        console,
        {"report": folder / "stress.md", "numbers": folder / "stress.json", "pictures": folder / "*.png"},
    )
