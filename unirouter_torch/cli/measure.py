"""``unirouter measure``: measure an LLM over its endpoint and let it join a router."""

import json
import os
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console

from unirouter_torch.cli.llm_costs import token_prices
from unirouter_torch.cli.options import File, Name, SavedRouter, Shown
from unirouter_torch.cli.output import plain_console
from unirouter_torch.cli.pool import change_router
from unirouter_torch.errors import ConfigError, DataError, PoolError
from unirouter_torch.measurement.budget import Prices
from unirouter_torch.measurement.pace import Pace

if TYPE_CHECKING:
    from unirouter_torch.measurement.endpoint import Endpoint
    from unirouter_torch.measurement.measure import Measurement, Question
    from unirouter_torch.measurement.plan import CalibrationPlan, Judge
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.router.router import Router

DOLLARS = "US dollars per prompt"
MOST_HALF_WIDTH = 0.49


@dataclass(frozen=True, kw_only=True)
class GradingOptions:
    """How answers are graded."""

    grader: Name
    """One of exact, number, choice, regex, json, judge, or module:Name of your own code, which is run."""
    references: File | None = None
    """Table of prompt_id and reference."""
    tolerance: Annotated[float, Shown(metavar="T")] = 1e-6
    """Difference to the reference that the grader ``number`` accepts, at least 0."""
    rubric: File | None = None
    """Text that tells the judge how to grade."""
    judge_model: Annotated[str | None, Shown(metavar="ID")] = None
    """Name of the judge at its endpoint."""
    judge_base_url: Annotated[str | None, Shown(metavar="URL")] = None
    """API of the judge; that of the LLM when not given."""
    judge_max_tokens: int = 1024
    """Most tokens of the judge's reply, reasoning included, at least 1."""
    judge_price_in: Annotated[float | None, Shown(metavar="USD")] = None
    """What the judge asks for a million tokens that are sent [US dollars]."""
    judge_price_out: Annotated[float | None, Shown(metavar="USD")] = None
    """What the judge asks for a million tokens of its answers [US dollars]."""


Dollars = Annotated[float, Shown(metavar="USD")]


def json_object(text: str) -> dict[str, Any]:
    """An object in JSON.

    Raises:
        ArgumentTypeError: It is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ArgumentTypeError(f"got {text!r}, expected a JSON object ({error})") from None
    if not isinstance(found, dict):
        raise ArgumentTypeError(f"got {text!r}, expected a JSON object")
    return found


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """Options of ``unirouter measure``."""

    router: SavedRouter
    """Folder of the saved router that the LLM joins."""
    llm: Name
    """Its name in the pool."""
    base_url: Annotated[str, Shown(metavar="URL")]
    """Its API, such as http://127.0.0.1:8000/v1."""
    model: Annotated[str | None, Shown(metavar="ID")] = None
    """Its name at the endpoint; that in the pool when not given."""
    max_tokens: int = 1024
    """Most tokens of an answer, hidden reasoning included, at least 1."""
    extra: Annotated[Mapping[str, Any], Shown(metavar="JSON", parse=json_object)] = field(default_factory=dict)
    """More fields of the request as JSON, such as '{"temperature": 0}'."""
    cost: Annotated[float | None, Shown(metavar="C")] = None
    """One cost for all prompts, in the pool's unit; by its prices and the tokens of its answers when not given."""
    prices: Prices
    """What it costs."""
    grading: GradingOptions
    """How its answers are graded."""
    budget: Dollars = 1.0
    """Most that all runs with this journal may spend, the judge included [US dollars]."""
    journal: File | None = None
    """File that keeps what was answered; beside the router, calibrate_NAME.jsonl, when not given."""
    until_half_width: Annotated[float | None, Shown(metavar="E")] = None
    """Ask no more once the 95% interval of the error reaches no further than this to either side."""
    pace: Pace
    """How fast it is asked."""

    @property
    def journal_file(self) -> Path:
        """The journal, where it was not given beside the router."""
        if self.journal is not None:
            return self.journal
        name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in self.llm)
        return Path(self.router).absolute().parent / f"calibrate_{name}.jsonl"


def measure(options: MeasureOptions) -> None:
    """Ask an LLM the calibration prompts of a router, grade its answers, and add it to the pool.

    The API key is read from OPENAI_API_KEY; that of a judge elsewhere from UNIROUTER_JUDGE_API_KEY.
    """
    _require_client()
    from unirouter_torch.measurement.plan import run_plan, worst_case
    from unirouter_torch.router.router import Router
    from unirouter_torch.routing.latency import Latency

    plan = _plan(options)
    router = Router.from_pretrained(options.router)
    _check_pool(router, options)
    questions = _questions(router, options.grading.references, plan)
    if plan.until_half_width is not None:
        plan = replace(plan, until_half_width=min(plan.until_half_width / _error_scale(router), MOST_HALF_WIDTH))
    console = plain_console(soft_wrap=True)
    dollars = worst_case(questions, plan)
    console.print(f"{len(questions)} prompts, at most {dollars:.4g} US dollars; budget {plan.budget:g}")
    found = run_plan(questions, plan)
    found.check()
    _print_findings(console, found, plan, router)
    cost, tokens, told = _costs(options, found)
    what = f"calibrate {options.llm} at {told} by {len(found.scores)} outcomes"
    router.reload_pool()

    def add_to_pool() -> None:
        router.add_llm(options.llm, found.scores, cost, tokens=tokens)
        if found.median_seconds is not None:
            router.pool = router.pool.with_changes(options.llm, latency=Latency(seconds=found.median_seconds))

    change_router(router, add_to_pool, what, data=plan.journal)


def _costs(options: MeasureOptions, found: "Measurement") -> "tuple[float, TokenPrices | None, str]":
    """Cost of a call, prices by the token, and both in words: by the token where nobody wants another cost."""
    if options.cost is None and found.answer_tokens:
        price_in, price_out = options.prices.price_in, options.prices.price_out
        tokens = token_prices(price_in, price_out, found.answer_tokens)
        return 0.0, tokens, f"price in {price_in:g}, price out {price_out:g}"
    cost = found.mean_dollars if options.cost is None else options.cost
    return cost, None, f"cost {cost:.4g}"


def _require_client() -> None:
    try:
        import openai  # noqa: F401
    except ImportError:
        raise ConfigError("measure: the client openai is not installed. Install unirouter_torch[calibrate].") from None


def _plan(options: MeasureOptions) -> "CalibrationPlan":
    from unirouter_torch.measurement.endpoint import Endpoint
    from unirouter_torch.measurement.plan import CalibrationPlan

    endpoint = Endpoint(
        base_url=options.base_url,
        model=options.model or options.llm,
        prices=options.prices,
        max_tokens=options.max_tokens,
        extra=options.extra,
    )
    return CalibrationPlan(
        endpoint=endpoint,
        grader=options.grading.grader,
        journal=options.journal_file,
        budget=options.budget,
        pace=options.pace,
        tolerance=options.grading.tolerance,
        judge=_judge(options.grading, endpoint),
        until_half_width=options.until_half_width,
    )


def _judge(options: GradingOptions, llm: "Endpoint") -> "Judge | None":
    from unirouter_torch.measurement.endpoint import Endpoint
    from unirouter_torch.measurement.plan import Judge

    if options.judge_model is None:
        return None
    if options.judge_price_in is None or options.judge_price_out is None:
        raise ConfigError("judge_price_in, judge_price_out: not given; the budget includes the judge. Give both.")
    endpoint = Endpoint(
        base_url=options.judge_base_url or llm.base_url,
        model=options.judge_model,
        prices=Prices(price_in=options.judge_price_in, price_out=options.judge_price_out),
        max_tokens=options.judge_max_tokens,
    )
    if options.rubric is None:
        return Judge(endpoint=endpoint)
    return Judge(endpoint=endpoint, rubric=options.rubric.read_text(encoding="utf-8"))


def _check_pool(router: "Router", options: MeasureOptions) -> None:
    """Refuse before a dollar is spent what would be refused afterwards."""
    from unirouter_torch.routing.pooled_llm import check_cost

    router.reload_pool()  # refuses a router that lies in no folder, where the LLM could not be kept
    check_cost(options.llm, options.cost or 0.0)
    if options.llm in router.pool.names:
        raise PoolError(f"pool: {options.llm!r} is in it already. Remove it first, or choose another --llm.")
    if options.cost is None and router.pool.cost_unit != DOLLARS:
        raise PoolError(f"pool: its costs are in {router.pool.cost_unit}, which calls do not tell. Give --cost.")


def _questions(router: "Router", references: Path | None, plan: "CalibrationPlan") -> "list[Question]":
    from unirouter_torch.measurement.measure import Question, in_random_order
    from unirouter_torch.measurement.references import read_references

    if references is None and plan.needs_reference:
        raise ConfigError(f"references: not given; the grader {plan.grader} compares answers with them.")
    known = read_references(references) if references else {}
    questions = [
        Question(prompt_id, text, known.get(prompt_id, ""))
        for prompt_id, text in zip(router.calibration.prompt_ids, router.calibration.texts, strict=True)
        if prompt_id in known or not plan.needs_reference
    ]
    if not questions:
        raise DataError(
            f"{references}: none of its {len(known)} prompt ids is a calibration prompt of this router. Its prompts "
            "and their ids are in calibration_prompts.json."
        )
    return questions if router.calibration.adjustment is not None else in_random_order(questions)


def _error_scale(router: "Router") -> float:
    """What an error on the calibration prompts counts; 1 where they were drawn at random."""
    calibration = router.calibration
    none, all_wrong = (calibration.typical_error(calibration.prompt_ids, error) for error in (0.0, 1.0))
    return all_wrong - none


def _print_findings(console: Console, found: "Measurement", plan: "CalibrationPlan", router: "Router") -> None:
    error, low, high = (router.calibration.typical_error(list(found.scores), value) for value in found.error)
    asked = len(found.scores) + len(found.left_out)
    tokens = [(a.prompt_tokens, a.answer_tokens) for a in found.answers.values()]
    counted = [(sent, got) for sent, got in tokens if sent is not None and got is not None]
    cut = sum(answer.finish_reason == "length" for answer in found.answers.values())
    facts = {
        "graded": f"{len(found.scores)} of {asked} prompts",
        "error": f"{error:.3f} (95% interval {low:.3f} to {high:.3f})",
        "cost": f"{found.mean_dollars:.4g} {DOLLARS}",
        "tokens": _mean_tokens(counted),
        "latency": "" if found.median_seconds is None else f"{found.median_seconds:.3g} seconds per call (median)",
        "left out": ", ".join(f"{reason} ({count})" for reason, count in found.reasons.most_common()),
        "cut off": f"{cut} answers at {plan.endpoint.max_tokens} tokens; --max-tokens allows more" if cut else "",
        "no answer": f"{len(found.unfinished)} answers are empty: they end within the reasoning, or say nothing"
        * bool(found.unfinished),
        "journal": os.path.relpath(plan.journal),
    }
    for name, fact in facts.items():
        if fact:
            console.print(f"{name:<10}{fact}")


def _mean_tokens(counted: list[tuple[int, int]]) -> str:
    if not counted:
        return "not reported; every answer counts with the most that it can have cost"
    sent, got = (sum(column) / len(counted) for column in zip(*counted, strict=True))
    return f"{sent:.0f} of the prompt and {got:.0f} of the answer on average"
