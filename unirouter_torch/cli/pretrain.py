"""``unirouter pretrain``: a router that takes any pool of LLMs."""

import argparse
from pathlib import Path

from unirouter_torch.cli.output import SETTINGS_EPILOG, Commands, plain_console, print_places


def add_pretrain(commands: Commands) -> None:
    """Declare ``unirouter pretrain``."""
    parser = commands.add_parser(
        "pretrain",
        help="train on the tables of data.tables, for prompts and LLMs that are still to come",
        epilog=SETTINGS_EPILOG,
    )
    parser.set_defaults(run=pretrain, takes_settings=True)


def pretrain(_: argparse.Namespace, rest: list[str]) -> None:
    """Train on several tables and say where the router is."""
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.experiments.pretrain import pretrain as train

    config = parse_config(rest, program="unirouter pretrain")
    if train(config) is None:
        return  # the first worker reports
    print_places(plain_console(), {"router": Path(config.output_dir) / "router"})
