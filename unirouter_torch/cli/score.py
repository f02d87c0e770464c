"""``unirouter score``: millions of logged prompts through a saved router."""

import argparse
import os
from pathlib import Path

from rich.console import Console

from unirouter_torch.cli.output import Commands, print_places
from unirouter_torch.config.router import DEFAULT_COST_WEIGHT


def add_score(commands: Commands) -> None:
    """Declare ``unirouter score``."""
    parser = commands.add_parser("score", help="choose an LLM for every prompt of an archive of Parquet files")
    parser.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    parser.add_argument("--input", required=True, metavar="PATTERN", help="shards, such as 'logs/*.parquet'")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the answered shards")
    parser.add_argument("--column", default="prompt", metavar="NAME", help="the prompts' column (default: %(default)s)")
    parser.add_argument(
        "--cost-weight",
        type=float,
        default=DEFAULT_COST_WEIGHT,
        metavar="W",
        help="error accepted to save the reference cost of the router (default: %(default)s)",
    )
    parser.add_argument(
        "--all-estimates",
        action="store_true",
        help="write the estimated errors of all LLMs, not of the chosen one alone",
    )
    parser.add_argument(
        "--batch-size", type=int, default=4096, metavar="N", help="prompts held at a time (default: %(default)s)"
    )
    parser.set_defaults(run=score)


def score(options: argparse.Namespace, _: list[str]) -> None:
    """Score an archive and say what was done."""
    import torch

    from unirouter_torch.archives.score import ScoreSettings, score_archive
    from unirouter_torch.modeling.router import Router

    settings = ScoreSettings(
        column=options.column,
        cost_weight=options.cost_weight,
        all_estimates=options.all_estimates,
        batch_size=options.batch_size,
    )
    router = Router.from_pretrained(options.router)
    if torch.cuda.is_available():
        router = router.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    done = score_archive(router, options.input, Path(options.output), settings)
    console = Console()
    console.print(
        f"{done.num_prompts:,} prompts in {done.num_shards:,} shards; {done.num_kept:,} shards were there already",
        highlight=False,
    )
    print_places(console, {"shards": Path(options.output)})
