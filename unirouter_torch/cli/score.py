"""``unirouter score``: millions of logged prompts through a saved router."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from unirouter_torch.cli.llm_costs import declare_latency_weight
from unirouter_torch.cli.output import Commands, plain_console, print_places
from unirouter_torch.errors import ConfigError

if TYPE_CHECKING:
    from unirouter_torch.archives.score import Scored, ScoreSettings


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
        metavar="W",
        help="error accepted to save the reference cost of the router (default: that of the target that unirouter tune "
        "--save keeps, else 0.1)",
    )
    declare_latency_weight(parser)
    parser.add_argument(
        "--all-estimates",
        action="store_true",
        help="write the estimated errors of all LLMs, not of the chosen one alone",
    )
    parser.add_argument(
        "--batch-size", type=int, default=4096, metavar="N", help="prompts held at a time (default: %(default)s)"
    )
    parser.add_argument("--ray", action="store_true", help="share the shards over a Ray cluster (extra `ray`)")
    parser.set_defaults(run=score)


def score(options: argparse.Namespace, _: list[str]) -> None:
    """Score an archive and say what was done."""
    from unirouter_torch.archives.score import ScoreSettings

    settings = ScoreSettings(
        column=options.column,
        cost_weight=options.cost_weight,
        latency_weight=options.latency_weight,
        all_estimates=options.all_estimates,
        batch_size=options.batch_size,
    )
    done = (_score_on_ray if options.ray else _score_here)(options, settings)
    console = plain_console()
    console.print(
        f"{done.num_prompts:,} prompts in {done.num_shards:,} shards; {done.num_kept:,} shards were there already"
    )
    print_places(console, {"shards": Path(options.output)})


def _score_here(options: argparse.Namespace, settings: "ScoreSettings") -> "Scored":
    import torch

    from unirouter_torch.archives.score import score_archive
    from unirouter_torch.router.router import Router

    router = Router.from_pretrained(options.router)
    if torch.cuda.is_available():
        router = router.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return score_archive(router, options.input, Path(options.output), settings)


def _score_on_ray(options: argparse.Namespace, settings: "ScoreSettings") -> "Scored":
    try:
        from unirouter_torch.archives.ray_cluster import score_on_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError("--ray: Ray is not installed. Run `pip install 'unirouter_torch[ray]'`.") from None
    return score_on_ray(options.router, options.input, Path(options.output), settings)
