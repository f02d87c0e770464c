"""``unirouter pool``: look at the LLMs of a saved router, and change them."""

# over 300 lines: one small subcommand after another, each an options class and a function of a few lines

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import RenderableType

from unirouter_torch.cli.llm_costs import LLMCosts, token_prices
from unirouter_torch.cli.options import File, Name, SavedRouter, Shown
from unirouter_torch.cli.output import plain_console
from unirouter_torch.errors import ConfigError, PoolError

if TYPE_CHECKING:
    from unirouter_torch.data.outcomes import Grading
    from unirouter_torch.router.router import Router
    from unirouter_torch.routing.pool import LLMPool

Files = Annotated[list[Path], Shown(metavar="FILE")]
PositionalLLM = Annotated[str, Shown(metavar="LLM", positional=True)]


@dataclass(frozen=True, kw_only=True)
class PoolOptions:
    """A router whose pool is changed."""

    router: SavedRouter
    """Folder of a saved router."""


@dataclass(frozen=True, kw_only=True)
class LookOptions(PoolOptions):
    """A router whose pool is shown."""

    json: bool = False
    """Print JSON."""


@dataclass(frozen=True, kw_only=True)
class LLMOptions(PoolOptions):
    """One LLM of a pool."""

    llm: PositionalLLM
    """Name of the LLM."""


@dataclass(frozen=True, kw_only=True)
class ShowOptions(LLMOptions, LookOptions):
    """Options of ``unirouter pool show``."""


@dataclass(frozen=True, kw_only=True)
class OutcomeOptions:
    """How a file of outcomes is read."""

    format: Annotated[str, Shown(metavar="F")] = "auto"
    """Form of the files: by their content, or the name of a reader."""
    llm_in_file: Name | None = None
    """Its name in a file that tells of several LLMs."""
    metric: Annotated[list[str], Shown(metavar="M")] = field(default_factory=list)
    """Which metric is the score where there are several; once for each task that has its own, or TASK=METRIC."""


def read_flip_rate(text: str) -> float | None:
    """A share of flipped scores, or none for ``estimate``."""
    return None if text == "estimate" else float(text)


@dataclass(frozen=True, kw_only=True)
class AddOptions(LLMOptions):
    """Options of ``unirouter pool add``."""

    scores: Files
    """Its outcomes on calibration prompts: files, or folders with files however deep."""
    outcomes: OutcomeOptions
    """How the file is read."""
    grader: Name | None = None
    """Grades answers without scores: exact, number, choice, regex, json, or module:Class."""
    references: File | None = None
    """Table of prompt_id and reference, for the grader."""
    costs: LLMCosts
    """What a call takes."""
    more: bool = False
    """Add the scores to those of an LLM that the pool holds already; they must be of other prompts than before."""
    flip_rate: Annotated[float | None, Shown(metavar="F", parse=read_flip_rate)] = 0.0
    """Share of the scores that are wrong, in [0, 0.5), or ``estimate``."""


@dataclass(frozen=True, kw_only=True)
class ObserveOptions(LLMOptions):
    """Options of ``unirouter pool observe``."""

    outcomes: Files
    """Files with the text of prompts and the score of its answers, the oldest first."""
    reading: OutcomeOptions
    """How the file is read."""
    half_life: Annotated[float, Shown(metavar="N")] = math.inf
    """After how many further outcomes one counts half; nothing is forgotten when not given."""


@dataclass(frozen=True, kw_only=True)
class RenameOptions(LLMOptions):
    """Options of ``unirouter pool rename``."""

    new_name: Annotated[str, Shown(metavar="NEW_NAME", positional=True)]
    """A name that the pool does not hold yet."""


@dataclass(frozen=True, kw_only=True)
class RepriceOptions(LLMOptions):
    """Options of ``unirouter pool reprice``."""

    costs: LLMCosts
    """What a call takes from now on."""


@dataclass(frozen=True, kw_only=True)
class UndoOptions(PoolOptions):
    """Options of ``unirouter pool undo``."""

    to: int | None = None
    """Bring back this revision of the history instead."""


def add(options: AddOptions) -> None:
    """Add an LLM by its scores on calibration prompts."""
    from unirouter_torch.data.outcomes.read import read_outcomes

    router = _load(options)
    costs = options.costs.listed(options.llm, router.pool.cost_unit)
    if options.more:
        _check_addition(options, router)
    else:
        costs.require_cost(options.llm)
    prompts = dict(zip(router.calibration.prompt_ids, router.calibration.texts, strict=True))
    found = read_outcomes(
        options.scores,
        calibration=prompts,
        format=options.outcomes.format,
        llm=options.outcomes.llm_in_file,
        metric=options.outcomes.metric,
        grading=_grading(options),
        conversation=router.conversation,
    )
    for line in found.report.lines():
        _say(line)
    if options.more:
        what = f"add {len(found.scores)} outcomes to those of {options.llm}"
        change_router(router, lambda: router.add_outcomes(options.llm, found.scores), what, options.scores)
        return
    tokens = token_prices(costs.price_in, costs.price_out, found.output_tokens) if costs.goes_by_token else None
    what = f"add {options.llm} at {costs.told(options.llm)} by {len(found.scores)} outcomes"

    def add_to_pool() -> None:
        router.add_llm(options.llm, found.scores, costs.cost or 0.0, tokens=tokens, flip_rate=options.flip_rate)
        _change_llm(router, options.llm, costs)

    change_router(router, add_to_pool, what, options.scores)


def _check_addition(options: AddOptions, router: "Router") -> None:
    """Refuse to add what changes nothing but outcomes, or what was added before.

    Raises:
        ConfigError: A cost is given.
        PoolError: The pool has no such LLM, or its history has a change from the same files.
    """
    from unirouter_torch.router.pool_history import data_sha256

    if options.costs != LLMCosts():
        raise ConfigError("more: got a cost or a latency, which stay as they are. Use unirouter pool reprice.")
    router.pool.find(options.llm)
    digest = data_sha256(options.scores)
    for revision in router.pool_history():
        change = revision.change
        if change.data_sha256 == digest and f" {options.llm}" in change.what:
            raise PoolError(
                f"scores: revision {revision.number} ({change.what}) was made from the same data. Each "
                "outcome may count only once."
            )


def _grading(options: AddOptions) -> "Grading | None":
    if options.grader is None and options.references is None:
        return None
    from unirouter_torch.data.outcomes import Grading
    from unirouter_torch.measurement.grader import UngradedError, find_grader
    from unirouter_torch.measurement.references import read_references

    if options.grader is None or options.references is None:
        raise ConfigError("grader, references: got one of them, expected both. Give them.")
    grader = find_grader(options.grader)

    def grade(answer: str, reference: str) -> float | None:
        try:
            return grader.grade("", answer, reference)
        except UngradedError:
            return None

    return Grading(grader=grade, references=read_references(options.references))


def observe(options: ObserveOptions) -> None:
    """Add outcomes of prompts that an LLM answered in use, and say whether it drifts."""
    from unirouter_torch.data.outcomes.read import read_feedback
    from unirouter_torch.routing.drift import FALSE_ALARM_RATE

    reading, router = options.reading, _load(options)
    feedback = read_feedback(
        options.outcomes,
        format=reading.format,
        llm=reading.llm_in_file,
        metric=reading.metric,
        conversation=router.conversation,
    )
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


def remove(options: LLMOptions) -> None:
    """Remove an LLM."""
    _change_pool(options, lambda pool: pool.without_llm(options.llm), f"remove {options.llm}")


def rename(options: RenameOptions) -> None:
    """Give an LLM another name."""
    what = f"rename {options.llm} to {options.new_name}"
    _change_pool(options, lambda pool: pool.with_changes(options.llm, name=options.new_name), what)


def reprice(options: RepriceOptions) -> None:
    """Give an LLM another cost or latency; what is not given stays."""
    router = _load(options)
    costs = options.costs.listed(options.llm, router.pool.cost_unit)
    what = f"reprice {options.llm} to {costs.told(options.llm)}"
    change_router(router, lambda: _change_llm(router, options.llm, costs), what)


def _change_llm(router: "Router", llm: str, costs: LLMCosts) -> None:
    router.pool = router.pool.with_changes(llm, **vars(costs.changed(router.pool[llm])))


def disable(options: LLMOptions) -> None:
    """Choose an LLM no more, but keep what is known of it."""
    _change_pool(options, lambda pool: pool.with_changes(options.llm, is_available=False), f"disable {options.llm}")


def enable(options: LLMOptions) -> None:
    """Choose a disabled LLM again."""
    _change_pool(options, lambda pool: pool.with_changes(options.llm, is_available=True), f"enable {options.llm}")


def undo(options: UndoOptions) -> None:
    """Undo the latest change that was not undone."""
    router = _load(options)
    router.undo_pool(options.to)
    _say_what_changed(router)


def show_list(options: LookOptions) -> None:
    """Show all LLMs with their errors and costs."""
    from unirouter_torch.cli.pool_tables import pool_table
    from unirouter_torch.router.description import describe_pool

    router = _load(options)
    _print(options, describe_pool(router), pool_table(router))


def show_llm(options: ShowOptions) -> None:
    """Show what the router knows of one LLM."""
    from unirouter_torch.cli.pool_tables import profile_tables
    from unirouter_torch.router.profile import profile_llm

    router = _load(options)
    profile = profile_llm(router, options.llm)
    _print(options, asdict(profile), *profile_tables(profile, router))


def show_history(options: LookOptions) -> None:
    """Show all changes: who, when, what, from which file."""
    from unirouter_torch.cli.pool_tables import history_table

    revisions = _load(options).pool_history()
    _print(options, [{"revision": one.number} | asdict(one.change) for one in revisions], history_table(revisions))


def _load(options: PoolOptions) -> "Router":
    from unirouter_torch.router.router import Router

    return Router.from_pretrained(options.router)


def _change_pool(options: LLMOptions, change: Callable[["LLMPool"], "LLMPool"], what: str) -> None:
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


def _print(options: LookOptions, facts: Any, *tables: RenderableType) -> None:
    if options.json:
        sys.stdout.write(json.dumps(facts, ensure_ascii=False, indent=2, allow_nan=False) + "\n")
        return
    plain_console().print(*tables)
