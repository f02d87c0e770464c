"""``unirouter train`` and ``unirouter evaluate``: one run, and many trials."""

import os
from dataclasses import dataclass
from pathlib import Path

from unirouter_torch.cli.output import plain_console, print_places


@dataclass(frozen=True, kw_only=True)
class TrialOptions:
    """How many trials are run, and beside one another."""

    trials: int = 10
    """Number of trials, at least 1."""
    workers: int = os.cpu_count() or 1
    """Processes that compute trials, at least 1; the cores of this machine when not given. The numbers do not depend on
    it."""


def train(settings: list[str]) -> None:
    """Train a router, evaluate it beside other methods, and save it.

    ``unirouter train my_log.csv`` is short for ``--config own_log --data.path my_log.csv``.
    """
    from rich.markdown import Markdown

    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.run import run

    if settings and not settings[0].startswith("-"):
        settings = ["--config", "own_log", "--data.path", *settings]
    config = parse_config(settings, program="unirouter train")
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


def evaluate(options: TrialOptions, settings: list[str]) -> None:
    """Compare all methods over several trials with redrawn prompts and LLMs."""
    from rich.markdown import Markdown

    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.trials import run_trials

    config = parse_config(settings, program="unirouter evaluate")
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
