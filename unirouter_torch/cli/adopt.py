"""``unirouter adopt``: a trained router for your outcomes, without training."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from unirouter_torch.cli.output import Commands, print_places

if TYPE_CHECKING:
    from unirouter_torch.modeling.router import Router

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
    from unirouter_torch.data.load import load_table
    from unirouter_torch.modeling.router import Router
    from unirouter_torch.training.adopt import adopt_table

    table = load_table(options.data)
    router = Router.from_pretrained(options.router)
    adopt_table(router, table, num_calibration=options.num_calibration)
    router.save_pretrained(options.output)
    console = Console()
    console.print(_pool_table(router))
    print_places(console, {"router": Path(options.output)})


def _pool_table(router: "Router") -> Table:
    from unirouter_torch.routing.cluster_error import overall_error

    pool = router.pool
    estimated = " (estimated)" if pool.cost_is_estimate else ""
    caption = f"{len(router.calibration.texts)} calibration prompts; cost in {pool.cost_unit}{estimated}"
    table = Table(title=f"{len(pool.names)} LLMs", caption=caption, title_justify="left", caption_justify="left")
    for name in ("LLM", "outcomes", "error", "cost"):
        table.add_column(name, justify="left" if name == "LLM" else "right")
    errors, counts = overall_error(pool.sums).tolist(), pool.sums.weight.sum(-1).tolist()
    rows = sorted(zip(errors, pool.names, counts, pool.cost.tolist(), strict=True))
    for error, name, count, cost in rows[:MOST_LLMS_SHOWN]:
        table.add_row(name, f"{count:.0f}", f"{error:.3f}", f"{cost:.4g}")
    if len(pool.names) > MOST_LLMS_SHOWN:
        table.add_row(f"and {len(pool.names) - MOST_LLMS_SHOWN} more", "", "", "")
    return table
