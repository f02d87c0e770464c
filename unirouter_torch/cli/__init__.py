"""The commands: ``train.py`` and ``unirouter``."""

import argparse
from collections.abc import Sequence

from unirouter_torch.cli.adopt import add_adopt
from unirouter_torch.cli.calibrate import add_calibrate
from unirouter_torch.cli.data import add_data
from unirouter_torch.cli.distill import add_distill
from unirouter_torch.cli.evaluate import add_evaluate
from unirouter_torch.cli.evaluate import train as train_router
from unirouter_torch.cli.export import add_export
from unirouter_torch.cli.output import guarded
from unirouter_torch.cli.pool import add_pool
from unirouter_torch.cli.pretrain import add_pretrain
from unirouter_torch.cli.route import add_route
from unirouter_torch.cli.score import add_score
from unirouter_torch.cli.serve import add_serve
from unirouter_torch.cli.stress import add_stress
from unirouter_torch.cli.tune import add_tune


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``unirouter``.

    Args:
        arguments: The command line; that of this process when not given.

    Returns:
        Exit code: 0, 2 after a user's mistake, 130 after an interrupt, 143 after SIGTERM.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not options.takes_settings:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return guarded(lambda: options.run(options, rest))


def train(arguments: Sequence[str]) -> int:
    """Run ``train.py``; returns the exit code."""
    return guarded(lambda: train_router(arguments))


def build_parser() -> argparse.ArgumentParser:
    """The parser of ``unirouter`` and all of its commands; the reference of the docs is written from it."""
    parser = argparse.ArgumentParser(prog="unirouter", description="Route prompts over a pool of LLMs.")
    parser.set_defaults(takes_settings=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for add_command in (
        add_route,
        add_evaluate,
        add_stress,
        add_data,
        add_pretrain,
        add_distill,
        add_adopt,
        add_pool,
        add_tune,
        add_calibrate,
        add_export,
        add_score,
        add_serve,
    ):
        add_command(commands)
    return parser
