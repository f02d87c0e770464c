"""``unirouter adopt``: a trained router for your outcomes, without training."""

import argparse
from pathlib import Path

from unirouter_torch.cli.output import Commands, plain_console, print_places

MOST_LLMS_SHOWN = 20


def add_adopt(commands: Commands) -> None:
    """Declare ``unirouter adopt``."""
    parser = commands.add_parser(
        "adopt", help="give a trained router your LLMs, from their outcomes; nothing is trained"
    )
    parser.add_argument(
        "data", metavar="DATA", help="your outcomes: a .csv or .jsonl log, or a folder of Parquet files"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write the router to")
    parser.add_argument(
        "--router", default="unirouter-minilm", metavar="ROUTER", help="trained router (default: %(default)s)"
    )
    parser.add_argument(
        "--num-calibration",
        type=int,
        default=1000,
        metavar="N",
        help="prompts to keep as calibration prompts, all where there are fewer (default: %(default)s)",
    )
    parser.set_defaults(run=adopt)


def adopt(options: argparse.Namespace, _: list[str]) -> None:
    """Calibrate a router on a table, save it and show its pool."""
    from unirouter_torch.cli.pool_tables import pool_table
    from unirouter_torch.data.load import load_table
    from unirouter_torch.experiments.adopt import adopt_table
    from unirouter_torch.router.router import Router

    table = load_table(options.data)
    router = Router.from_pretrained(options.router)
    adopt_table(router, table, num_calibration=options.num_calibration)
    router.save_pretrained(options.output)
    console = plain_console()
    console.print(pool_table(router, most=MOST_LLMS_SHOWN))
    print_places(console, {"router": Path(options.output)})
