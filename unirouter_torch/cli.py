"""The commands: ``train.py`` and ``unirouter``."""

import argparse
import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.router import DEFAULT_COST_WEIGHT
from unirouter_torch.errors import DataError, UniRouterError

if TYPE_CHECKING:
    from unirouter_torch.modeling.router import Route, Router

EXIT_USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``unirouter``.

    Args:
        arguments: The command line; that of this process when not given.

    Returns:
        Exit code: 0, 2 after a user's mistake, 130 after an interrupt.
    """
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "evaluate":
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    return guarded(lambda: options.run(options, rest))


def train(arguments: Sequence[str]) -> int:
    """Run ``train.py``; returns the exit code."""
    return guarded(lambda: _train(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="unirouter", description="Route prompts over a pool of LLMs.")
    commands = parser.add_subparsers(dest="command", required=True)

    route = commands.add_parser("route", help="choose an LLM for each prompt with a saved router")
    route.add_argument("prompts", nargs="*", metavar="PROMPT", help="prompts; standard input when there are none")
    route.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    route.add_argument(
        "--cost-weight",
        type=float,
        default=DEFAULT_COST_WEIGHT,
        metavar="W",
        help="error accepted to save the reference cost of the router; 0 asks for quality alone (default: %(default)s)",
    )
    route.add_argument("--input", metavar="FILE", help="file with one prompt a line, - for standard input")
    route.add_argument("--top", type=int, metavar="N", help="show the best N LLMs of each table; all by default")
    route.add_argument("--json", action="store_true", help="print one JSON object a line")
    route.set_defaults(run=lambda options, _: _route(options))

    evaluate = commands.add_parser(
        "evaluate",
        help="compare all methods over several trials with redrawn prompts and LLMs",
        epilog="All other arguments are those of train.py: --config FILE, --dotted.key VALUE.",
    )
    evaluate.add_argument("--trials", type=int, default=5, metavar="N", help="number of trials (default: %(default)s)")
    evaluate.set_defaults(run=_evaluate)
    return parser


def guarded(command: Callable[[], None]) -> int:
    """Run a command; a user's mistake becomes one message on standard error."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with _plain_warnings(console):
            command()
    except UniRouterError as error:
        console.print(f"[bold red]error:[/] {type(error).__name__}:", end=" ")
        console.print(str(error), markup=False)
        return EXIT_USER_ERROR
    except OSError as error:
        console.print(f"[bold red]error:[/] {error.strerror or error}: {error.filename or ''}", markup=True)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        console.print("interrupted; what was finished is kept, the same command goes on from there")
        return INTERRUPTED
    return 0


@contextlib.contextmanager
def _plain_warnings(console: Console) -> Iterator[None]:
    """Warnings of this package as one line each, without a source line."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print("[yellow]warning:[/]", end=" ")
        console.print(str(message), markup=False)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"unirouter_torch(\.|$)")
        warnings.showwarning = show
        yield


def _train(arguments: Sequence[str]) -> None:
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.training.run import run

    config = parse_config(arguments, program="train.py")
    result = run(config)
    console = Console()
    console.print(Markdown(result.report.to_markdown()))
    folder = Path(config.output_dir)
    _print_places(
        console,
        {
            "report": folder / "results.md",
            "numbers": folder / "results.json",
            "picture": folder / "curves.png",
            "learning curves": folder / "logs" / "metrics.csv",
            "router": folder / "router",
        },
    )


def _evaluate(options: argparse.Namespace, rest: Sequence[str]) -> None:
    from unirouter_torch.config.files import parse_config
    from unirouter_torch.training.trials import run_trials

    config = parse_config(rest, program="unirouter evaluate")
    report = run_trials(config, num_trials=options.trials)
    console = Console()
    console.print(Markdown(report.to_markdown()))
    _print_places(console, {name: Path(config.output_dir) / name for name in ("trials.md", "trials.json")})


def _route(options: argparse.Namespace) -> None:
    from unirouter_torch.modeling.router import Router

    if options.top is not None:
        at_least("--top", options.top, 1)
    prompts = _read_prompts(options)
    router = Router.from_pretrained(options.router)
    routes = router.route(prompts, cost_weight=options.cost_weight)
    if options.json:
        for prompt, route in zip(prompts, routes, strict=True):
            sys.stdout.write(json.dumps({"prompt": prompt} | asdict(route), ensure_ascii=False) + "\n")
        return
    for prompt, route in zip(prompts, routes, strict=True):
        Console().print(_route_table(prompt, route, router, options))


def _read_prompts(options: argparse.Namespace) -> list[str]:
    if options.prompts and options.input:
        raise DataError("prompts: got both PROMPT arguments and --input. Give one of them.")
    if options.prompts:
        return list(options.prompts)
    place = options.input or "-"
    try:
        content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").read()
    except FileNotFoundError:
        raise DataError(f"{place}: no such file; expected a text file with one prompt a line.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: byte {error.start} is not UTF-8. Convert the file to UTF-8.") from None
    prompts = [line for line in text.splitlines() if line.strip()]
    if not prompts:
        raise DataError("prompts: got none. Give them as arguments, with --input FILE, or on standard input.")
    return prompts


def _route_table(prompt: str, route: "Route", router: "Router", options: argparse.Namespace) -> Table:
    cost_weight = options.cost_weight
    estimated = " (estimated)" if router.pool.cost_is_estimate else ""
    title = prompt if len(prompt) <= 100 else prompt[:97] + "..."
    table = Table(title=f"{title}\n-> {route.llm}", title_justify="left", caption_justify="left")
    table.caption = f"cost in {router.pool.cost_unit}{estimated}; cost weight {cost_weight:g} per reference cost"
    for name in ("LLM", "estimated error", "cost", "error + weighted cost"):
        table.add_column(name, justify="left" if name == "LLM" else "right")
    weighted = {
        llm: error + cost_weight * route.cost[llm] / router.pool.reference_cost
        for llm, error in route.estimated_error.items()
    }
    for llm in sorted(weighted, key=lambda llm: (llm != route.llm, weighted[llm]))[: options.top]:
        table.add_row(
            llm,
            f"{route.estimated_error[llm]:.3f}",
            f"{route.cost[llm]:.4g}",
            f"{weighted[llm]:.3f}",
            style="bold green" if llm == route.llm else None,
        )
    return table


def _print_places(console: Console, places: dict[str, Path]) -> None:
    width = max(len(name) for name in places)
    for name, place in places.items():
        console.print(f"{name:<{width}}  {os.path.relpath(place)}", highlight=False, soft_wrap=True)
