"""``unirouter adopt``: a trained router for your outcomes, without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from unirouter_torch.cli.options import Folder, SavedRouter, Shown
from unirouter_torch.cli.output import plain_console, print_places

MOST_LLMS_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class AdoptOptions:
    """Options of ``unirouter adopt``."""

    data: Annotated[str, Shown(metavar="DATA", positional=True)]
    """Your outcomes: a .csv or .jsonl log, or a folder of Parquet files."""
    output: Folder
    """Folder to write the router to."""
    router: SavedRouter = "unirouter-static"
    """Trained router: a folder, or a name."""
    num_calibration: int = 1000
    """Prompts to keep as calibration prompts, at least 1; all where there are fewer."""


def adopt(options: AdoptOptions) -> None:
    """Give a trained router your LLMs, from their outcomes; nothing is trained."""
    from unirouter_torch.cli.pool_tables import pool_table
    from unirouter_torch.data.load import load_table
    from unirouter_torch.experiments.adopt import adopt_table
    from unirouter_torch.router.router import Router

    router = Router.from_pretrained(options.router)
    table = load_table(options.data, conversation=router.conversation)
    adopt_table(router, table, num_calibration=options.num_calibration)
    router.save_pretrained(options.output)
    console = plain_console()
    console.print(pool_table(router, most=MOST_LLMS_SHOWN))
    print_places(console, {"router": Path(options.output)})
