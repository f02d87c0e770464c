"""``unirouter route``: choose an LLM for each prompt."""

import io
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from unirouter_torch.cli.options import SavedRouter, Shown
from unirouter_torch.cli.output import open_router, plain_console
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.choice import BackendOptions, WeightedChoiceOptions
from unirouter_torch.errors import DataError

if TYPE_CHECKING:
    from unirouter_torch.router.chooser import Chooser
    from unirouter_torch.router.route import Route


@dataclass(frozen=True, kw_only=True)
class RouteOptions(WeightedChoiceOptions, BackendOptions):
    """Options of ``unirouter route``."""

    prompts: Annotated[list[str], Shown(metavar="PROMPT", positional=True)] = field(default_factory=list)
    """Prompts, or conversations (JSON lists of messages with role and content); standard input when there are none."""
    router: SavedRouter
    """Folder of a saved router."""
    input: Annotated[str | None, Shown(metavar="FILE")] = None
    """File with one prompt, or conversation as JSON, a line; - for standard input."""
    top: int | None = None
    """Show the best LLMs of each table, so many of them, at least 1; all when not given."""
    json: bool = False
    """Print one JSON object a line."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.top is not None:
            at_least("top", self.top, 1)


def route(options: RouteOptions) -> None:
    """Choose an LLM for each prompt with a saved router."""
    prompts = _read_prompts(options)
    router = open_router(options.router, options.backend)
    chooser = router.chooser(options.cost_weight, **options.choice)
    routes = router.route(prompts, options.cost_weight, **options.choice)
    if options.json:
        for prompt, route in zip(prompts, routes, strict=True):
            sys.stdout.write(json.dumps({"prompt": prompt} | asdict(route), ensure_ascii=False) + "\n")
        return
    for prompt, route in zip(prompts, routes, strict=True):
        plain_console().print(_route_table(prompt, route, chooser, options))


def _read_prompts(options: RouteOptions) -> list[str]:
    if options.prompts and options.input:
        raise DataError("prompts: got both PROMPT arguments and --input. Give one of them.")
    if options.prompts:
        return list(options.prompts)
    place = options.input or "-"
    try:
        content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig").read()
    except FileNotFoundError:
        raise DataError(f"{place}: no such file; expected a text file with one prompt a line.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: byte {error.start} is not UTF-8. Convert the file to UTF-8.") from None
    prompts = [line for line in text.split("\n") if line.strip()]  # splitlines parts at form feeds and the like too
    if not prompts:
        raise DataError("prompts: got none. Give them as arguments, with --input FILE, or on standard input.")
    return prompts


def _route_table(prompt: str, route: "Route", chooser: "Chooser", options: RouteOptions) -> Table:
    pool = chooser.pool
    estimated = " (estimated)" if pool.cost_is_estimate else ""
    title = prompt if len(prompt) <= 100 else prompt[:97] + "..."
    table = Table(title=f"{title}\n-> {route.llm}", title_justify="left", caption_justify="left")
    of_a_second = pool.latency_weight if options.latency_weight is None else options.latency_weight
    seconds = f", with {of_a_second:g} for each second" if of_a_second else ""
    weight = f"cost weight {chooser.cost_weight:g} per reference cost"
    table.caption = f"cost in {pool.cost_unit}{estimated}{seconds}; {weight}"
    table.add_column("LLM", overflow="fold")
    for name in ("estimated error", "cost", "error + weighted cost"):
        table.add_column(name, justify="right")
    others = [llm for llm in pool.names if llm not in route.total]
    for llm in [*route.ranking, *others][: options.top]:
        table.add_row(
            llm,
            f"{route.estimated_error[llm]:.3f}",
            f"{route.cost[llm]:.4g}",
            f"{route.total[llm]:.3f}" if llm in route.total else "not to be chosen",
            style="bold green" if llm == route.llm else None,
        )
    return table
