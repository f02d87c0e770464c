"""``train.py`` and ``unirouter evaluate``: one run, and many trials."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.markdown import Markdown

from unirouter_torch.cli.output import SETTINGS_EPILOG, Commands, add_trial_arguments, plain_console, print_places


def add_evaluate(commands: Commands) -> None:
    """Declare ``unirouter evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="compare all methods over several trials with redrawn prompts and LLMs",
        epilog=SETTINGS_EPILOG,
    )
    add_trial_arguments(parser)
    parser.set_defaults(run=evaluate, takes_settings=True)


def train(arguments: Sequence[str]) -> None:
    """Train, evaluate and save one router."""
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.run import run

    config = parse_config(arguments, program="train.py")
    result = run(config)
    if result is None:
        return  # the first worker reports
    console = plain_console()
    console.print(Markdown(result.report.to_markdown()))
    folder = Path(config.output_dir)
    print_places(
        console,
        {
            "report": folder / "results.md",
            "numbers": folder / "results.json",
            "picture": folder / "curves.png",
            "learning curves": folder / "logs" / "metrics.csv",
            "router": folder / "router",
        },
    )


def evaluate(options: argparse.Namespace, rest: list[str]) -> None:
    """Compare all methods over several trials."""
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.trials import run_trials

    config = parse_config(rest, program="unirouter evaluate")
    report = run_trials(config, num_trials=options.trials, num_workers=options.workers)
    console = plain_console()
    console.print(Markdown(report.to_summary()))
    folder = Path(config.output_dir)
    print_places(
        console,
        {
            "report": folder / "report.html",
            "table": folder / "results.md",
            "numbers": folder / "results.json",
            "picture": folder / "curves.png",
        },
    )
