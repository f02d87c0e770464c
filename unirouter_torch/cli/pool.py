"""``unirouter pool``: look at the LLMs of a saved router, and change them."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from unirouter_torch.cli.llm_costs import (
    changed,
    declare_costs,
    goes_by_token,
    require_cost,
    token_prices,
    told_costs,
)
from unirouter_torch.cli.output import Commands, plain_console
from unirouter_torch.errors import ConfigError, PoolError

if TYPE_CHECKING:
    from unirouter_torch.data.outcomes import Grading
    from unirouter_torch.router.router import Router
    from unirouter_torch.routing.pool import LLMPool

FLIP_HELP = "share of the scores that are wrong, in [0, 0.5), or estimate (default: %(default)s)"
HALF_LIFE_HELP = "after how many further outcomes one counts half (default: nothing is forgotten)"


def add_pool(commands: Commands) -> None:
    """Declare ``unirouter pool``."""
    parser = commands.add_parser("pool", help="look at the LLMs of a saved router, add, remove and change them")
    actions: Commands = parser.add_subparsers(dest="action", required=True)
    looks = [
        _declare(actions, "list", show_list, "all LLMs with their errors and costs"),
        _declare(actions, "show", show_llm, "what the router knows of one LLM", of_llm=True),
        _declare(actions, "history", show_history, "all changes: who, when, what, from which file"),
    ]
    for action in looks:
        action.add_argument("--json", action="store_true", help="print JSON")
    action = _declare(actions, "add", add, "add an LLM by its scores on calibration prompts", of_llm=True)
    _declare_outcomes(action)
    declare_costs(action)
    more = "add the scores to those of an LLM that the pool holds already; they must be of other prompts than before"
    action.add_argument("--more", action="store_true", help=more)
    action.add_argument("--flip-rate", type=_flip_rate, default=0.0, metavar="F", help=FLIP_HELP)
    action = _declare(actions, "observe", observe, "add outcomes of prompts that an LLM answered in use", of_llm=True)
    outcomes = "file with the text of prompts and the score of its answers, the oldest first"
    action.add_argument("--outcomes", required=True, nargs="+", type=Path, metavar="FILE", help=outcomes)
    _declare_form(action)
    action.add_argument("--half-life", type=float, default=math.inf, metavar="N", help=HALF_LIFE_HELP)
    _declare(actions, "remove", remove, "remove an LLM", of_llm=True)
    action = _declare(actions, "rename", rename, "give an LLM another name", of_llm=True)
    action.add_argument("new_name", metavar="NEW_NAME", help="a name that the pool does not hold yet")
    action = _declare(actions, "reprice", reprice, "give an LLM another cost or latency", of_llm=True)
    declare_costs(action)
    _declare(actions, "disable", disable, "choose an LLM no more, but keep what is known of it", of_llm=True)
    _declare(actions, "enable", enable, "choose a disabled LLM again", of_llm=True)
    action = _declare(actions, "undo", undo, "undo the latest change that was not undone")
    action.add_argument("--to", type=int, metavar="N", help="bring back revision N of the history instead")


def _declare(
    actions: Commands,
    verb: str,
    run: Callable[[argparse.Namespace, list[str]], None],
    purpose: str,
    *,
    of_llm: bool = False,
) -> argparse.ArgumentParser:
    action = actions.add_parser(verb, help=purpose)
    if of_llm:
        action.add_argument("llm", metavar="LLM", help="name of the LLM")
    action.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    action.set_defaults(run=run)
    return action


def _flip_rate(text: str) -> float | None:
    return None if text == "estimate" else float(text)


def _declare_outcomes(action: argparse.ArgumentParser) -> None:
    scores = "its outcomes on calibration prompts: files, or folders with files however deep"
    action.add_argument("--scores", required=True, nargs="+", type=Path, metavar="FILE", help=scores)
    _declare_form(action)
    graders = "exact, number, choice, regex, json, or module:Class"
    action.add_argument("--grader", metavar="NAME", help=f"grades answers without scores: {graders}")
    action.add_argument("--references", type=Path, metavar="FILE", help="prompt_id and reference, for the grader")


def _declare_form(action: argparse.ArgumentParser) -> None:
    form = "form of the files: by their content, or the name of a reader (docs/reference/data_formats.md)"
    action.add_argument("--format", default="auto", metavar="F", help=f"{form} (default: %(default)s)")
    action.add_argument(
        "--llm", dest="llm_in_file", metavar="NAME", help="its name in a file that tells of several LLMs"
    )
    metric = "which metric is the score where there are several; once for each task that has its own, or TASK=METRIC"
    action.add_argument("--metric", action="append", default=[], metavar="M", help=metric)


def add(options: argparse.Namespace, _: list[str]) -> None:
    """Add an LLM from its outcomes."""
    from unirouter_torch.data.outcomes.read import read_outcomes

    router = _load(options)
    if options.more:
        _check_addition(options, router)
    else:
        require_cost(options)
    prompts = dict(zip(router.calibration.prompt_ids, router.calibration.texts, strict=True))
    found = read_outcomes(
        options.scores,
        calibration=prompts,
        format=options.format,
        llm=options.llm_in_file,
        metric=options.metric,
        grading=_grading(options),
    )
    for line in found.report.lines():
        _say(line)
    if options.more:
        what = f"add {len(found.scores)} outcomes to those of {options.llm}"
        change_router(router, lambda: router.add_outcomes(options.llm, found.scores), what, options.scores)
        return
    by_length = goes_by_token(options)
    tokens = token_prices(options.price_in, options.price_out, found.output_tokens) if by_length else None
    what = f"add {options.llm} at {told_costs(options)} by {len(found.scores)} outcomes"

    def add_to_pool() -> None:
        cost = options.cost or 0.0
        router.add_llm(options.llm, found.scores, cost, tokens=tokens, flip_rate=options.flip_rate)
        _change_llm(router, options)

    change_router(router, add_to_pool, what, options.scores)


def _check_addition(options: argparse.Namespace, router: "Router") -> None:
    """Refuse to add what changes nothing but outcomes, or what was added before.

    Raises:
        ConfigError: A cost is given.
        PoolError: The pool has no such LLM, or its history has a change from the same files.
    """
    from unirouter_torch.router.pool_history import data_sha256

    costs = ("cost", "price_in", "price_out", "latency", "latency_per_token")
    if any(getattr(options, name) is not None for name in costs):
        raise ConfigError("--more: got a cost or a latency, which stay as they are. Use unirouter pool reprice.")
    router.pool.find(options.llm)
    digest = data_sha256(options.scores)
    for revision in router.pool_history():
        change = revision.change
        if change.data_sha256 == digest and f" {options.llm}" in change.what:
            raise PoolError(
                f"--scores: revision {revision.number} ({change.what}) was made from the same data. Each "
                "outcome may count only once."
            )


def _grading(options: argparse.Namespace) -> "Grading | None":
    if options.grader is None and options.references is None:
        return None
    from unirouter_torch.data.outcomes import Grading
    from unirouter_torch.measurement.grader import UngradedError, find_grader
    from unirouter_torch.measurement.references import read_references

    if options.grader is None or options.references is None:
        raise ConfigError("--grader and --references: got one of them, expected both. Give them.")
    grader = find_grader(options.grader)

    def grade(answer: str, reference: str) -> float | None:
        try:
            return grader.grade("", answer, reference)
        except UngradedError:
            return None

    return Grading(grader=grade, references=read_references(options.references))


def observe(options: argparse.Namespace, _: list[str]) -> None:
    """Add outcomes of prompts in use, and say whether the LLM drifts."""
    from unirouter_torch.data.outcomes.read import read_feedback
    from unirouter_torch.routing.drift import FALSE_ALARM_RATE

    router = _load(options)
    feedback = read_feedback(options.outcomes, format=options.format, llm=options.llm_in_file, metric=options.metric)
    what = f"observe {len(feedback.scores)} outcomes of {options.llm}"

    def add_feedback() -> None:
        router.observe(options.llm, feedback.prompts, feedback.scores, half_life=options.half_life)

    change_router(router, add_feedback, what, options.outcomes)
    test = router.pool[options.llm].drift
    assert test is not None
    if test.has_drifted:
        more = "more" if test.is_worse else "fewer"
        _say(f"drift: {options.llm} makes {more} errors than estimated. Remove it and add it again from new outcomes.")
    else:
        alarm = f"most evidence {test.most_evidence:.3g}, alarm at {1 / FALSE_ALARM_RATE:g}"
        _say(f"no drift after {test.num_prompts} outcomes ({alarm})")


def remove(options: argparse.Namespace, _: list[str]) -> None:
    """Remove an LLM."""
    _change_pool(options, lambda pool: pool.without_llm(options.llm), f"remove {options.llm}")


def rename(options: argparse.Namespace, _: list[str]) -> None:
    """Give an LLM another name."""
    what = f"rename {options.llm} to {options.new_name}"
    _change_pool(options, lambda pool: pool.with_changes(options.llm, name=options.new_name), what)


def reprice(options: argparse.Namespace, _: list[str]) -> None:
    """Give an LLM other costs or another latency; those that are not named stay."""
    what, router = f"reprice {options.llm} to {told_costs(options)}", _load(options)
    change_router(router, lambda: _change_llm(router, options), what)


def _change_llm(router: "Router", options: argparse.Namespace) -> None:
    llm = changed(router.pool[options.llm], options)
    router.pool = router.pool.with_changes(options.llm, **vars(llm))


def disable(options: argparse.Namespace, _: list[str]) -> None:
    """Choose an LLM no more."""
    _change_pool(options, lambda pool: pool.with_changes(options.llm, is_available=False), f"disable {options.llm}")


def enable(options: argparse.Namespace, _: list[str]) -> None:
    """Choose an LLM again."""
    _change_pool(options, lambda pool: pool.with_changes(options.llm, is_available=True), f"enable {options.llm}")


def undo(options: argparse.Namespace, _: list[str]) -> None:
    """Bring an earlier pool back."""
    router = _load(options)
    router.undo_pool(options.to)
    _say_what_changed(router)


def show_list(options: argparse.Namespace, _: list[str]) -> None:
    """Print all LLMs."""
    from unirouter_torch.cli.pool_tables import describe_pool, pool_table

    router = _load(options)
    _print(options, describe_pool(router), pool_table(router))


def show_llm(options: argparse.Namespace, _: list[str]) -> None:
    """Print what the router knows of one LLM."""
    from unirouter_torch.cli.pool_tables import profile_tables
    from unirouter_torch.router.profile import profile_llm

    router = _load(options)
    profile = profile_llm(router, options.llm)
    _print(options, asdict(profile), *profile_tables(profile, router))


def show_history(options: argparse.Namespace, _: list[str]) -> None:
    """Print all changes."""
    from unirouter_torch.cli.pool_tables import history_table

    revisions = _load(options).pool_history()
    _print(options, [{"revision": one.number} | asdict(one.change) for one in revisions], history_table(revisions))


def _load(options: argparse.Namespace) -> "Router":
    from unirouter_torch.router.router import Router

    return Router.from_pretrained(options.router)


def _change_pool(options: argparse.Namespace, change: Callable[["LLMPool"], "LLMPool"], what: str) -> None:
    router = _load(options)

    def change_pool() -> None:
        router.pool = change(router.pool)

    change_router(router, change_pool, what)


def change_router(router: "Router", change: Callable[[], None], what: str, data: Path | Sequence[Path] = ()) -> None:
    """Make a change, save it and say so; where somebody else was quicker, make it again on top of theirs."""
    router.change_pool(change, what, data=data)
    _say_what_changed(router)


def _say_what_changed(router: "Router") -> None:
    assert router.saved is not None
    revision = router.saved.revision
    _say(f"revision {revision.number}: {revision.change.what}")


def _say(line: str) -> None:
    plain_console(soft_wrap=True).print(line)


def _print(options: argparse.Namespace, facts: Any, *tables: RenderableType) -> None:
    if options.json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
        return
    plain_console().print(*tables)
