"""``unirouter calibrate``: measure an LLM over its endpoint and let it join a router."""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from unirouter_torch.cli.llm_costs import token_prices
from unirouter_torch.cli.output import Commands, plain_console
from unirouter_torch.cli.pool import change_router
from unirouter_torch.errors import ConfigError, DataError, PoolError

if TYPE_CHECKING:
    from unirouter_torch.measurement.endpoint import Endpoint
    from unirouter_torch.measurement.measure import Measurement, Question
    from unirouter_torch.measurement.plan import CalibrationPlan
    from unirouter_torch.router.calibration import TokenPrices
    from unirouter_torch.router.router import Router

DOLLARS = "US dollars per prompt"
MOST_HALF_WIDTH = 0.49


def add_calibrate(commands: Commands) -> None:
    """Declare ``unirouter calibrate``."""
    parser = commands.add_parser(
        "calibrate",
        help="ask an LLM the calibration prompts of a router, grade its answers, and add it to the pool",
        description="The API key is read from OPENAI_API_KEY; that of a judge elsewhere from UNIROUTER_JUDGE_API_KEY.",
    )
    _add_llm(parser.add_argument_group("the LLM"))
    _add_grading(parser.add_argument_group("grading"))
    _add_pace(parser.add_argument_group("pace and budget"))
    parser.set_defaults(run=calibrate)


def _add_llm(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--router", required=True, metavar="DIR", help="folder of the saved router that it joins")
    group.add_argument("--llm", required=True, metavar="NAME", help="its name in the pool")
    group.add_argument("--base-url", required=True, metavar="URL", help="its API, such as http://127.0.0.1:8000/v1")
    group.add_argument("--model", metavar="ID", help="its name at the endpoint (default: that of --llm)")
    group.add_argument("--max-tokens", type=int, default=1024, metavar="N", help="of an answer (default: %(default)s)")
    extra = "more fields of the request as JSON, such as '{\"temperature\": 0}'"
    group.add_argument("--extra", default="{}", metavar="JSON", help=extra)
    price = "US dollars for a million tokens of the %s; 0 for an endpoint of your own"
    group.add_argument("--price-in", type=float, required=True, metavar="USD", help=price % "prompt")
    group.add_argument("--price-out", type=float, required=True, metavar="USD", help=price % "answer")
    cost = "one cost for all prompts, in the pool's unit (default: by these prices and the tokens of its answers)"
    group.add_argument("--cost", type=float, metavar="C", help=cost)


def _add_grading(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--references", metavar="FILE", help="table of prompt_id and reference")
    names = "exact, number, choice, regex, json, judge, or module:Name of your own code, which is run"
    group.add_argument("--grader", required=True, metavar="NAME", help=names)
    group.add_argument("--tolerance", type=float, default=1e-6, metavar="T", help="of number (default: %(default)s)")
    group.add_argument("--rubric", metavar="FILE", help="text that tells the judge how to grade")
    group.add_argument("--judge-model", metavar="ID", help="name of the judge at its endpoint")
    group.add_argument("--judge-base-url", metavar="URL", help="its API (default: that of the LLM)")
    most = "of its reply, reasoning included (default: %(default)s)"
    group.add_argument("--judge-max-tokens", type=int, default=1024, metavar="N", help=most)
    price = "US dollars for a million tokens"
    group.add_argument("--judge-price-in", type=float, metavar="USD", help=price)
    group.add_argument("--judge-price-out", type=float, metavar="USD", help=price)


def _add_pace(group: "argparse._ArgumentGroup") -> None:
    budget = "most that all runs with this journal may spend, the judge included (default: %(default)s)"
    group.add_argument("--budget", type=float, default=1.0, metavar="USD", help=budget)
    journal = "file that keeps what was answered (default: beside the router, calibrate_NAME.jsonl)"
    group.add_argument("--journal", metavar="FILE", help=journal)
    until = "ask no more once the 95%% interval of the error reaches no further than this to either side"
    group.add_argument("--until-interval", type=float, metavar="E", help=until)
    default = "%s (default: %%(default)s)"
    group.add_argument("--concurrency", type=int, default=8, metavar="N", help=default % "calls at one time")
    group.add_argument("--timeout", type=float, default=120.0, metavar="SECONDS", help=default % "of one call")
    group.add_argument("--retries", type=int, default=5, metavar="N", help=default % "new tries of a call that failed")
    backoff = "wait before the first new try, doubled each time up to a minute"
    group.add_argument("--backoff", type=float, default=1.0, metavar="SECONDS", help=default % backoff)
    no_limit = float("inf")
    group.add_argument("--requests-per-minute", type=float, default=no_limit, metavar="N", help="rate limit")
    group.add_argument("--tokens-per-minute", type=float, default=no_limit, metavar="N", help="rate limit")


def calibrate(options: argparse.Namespace, _: list[str]) -> None:
    """Measure an LLM, add it to the pool, and say what was learned."""
    _require_client()
    from unirouter_torch.measurement.plan import run_plan, worst_case
    from unirouter_torch.router.router import Router
    from unirouter_torch.routing.latency import Latency

    plan = _plan(options)
    router = Router.from_pretrained(options.router)
    _check_pool(router, options)
    questions = _questions(router, options.references, plan)
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


def _costs(options: argparse.Namespace, found: "Measurement") -> "tuple[float, TokenPrices | None, str]":
    """Cost of a call, prices by the token, and both in words: by the token where nobody wants another cost."""
    if options.cost is None and found.answer_tokens:
        price_in, price_out = options.price_in, options.price_out
        tokens = token_prices(price_in, price_out, found.answer_tokens)
        return 0.0, tokens, f"price in {price_in:g}, price out {price_out:g}"
    cost = found.mean_dollars if options.cost is None else options.cost
    return cost, None, f"cost {cost:.4g}"


def _require_client() -> None:
    try:
        import openai  # noqa: F401
    except ImportError:
        raise ConfigError(
            "calibrate: the client openai is not installed. Install unirouter_torch[calibrate]."
        ) from None


def _plan(options: argparse.Namespace) -> "CalibrationPlan":
    from unirouter_torch.measurement.budget import Prices
    from unirouter_torch.measurement.endpoint import Endpoint
    from unirouter_torch.measurement.pace import Pace
    from unirouter_torch.measurement.plan import CalibrationPlan

    endpoint = Endpoint(
        base_url=options.base_url,
        model=options.model or options.llm,
        prices=Prices(price_in=options.price_in, price_out=options.price_out),
        max_tokens=options.max_tokens,
        extra=_object("--extra", options.extra),
    )
    pace = Pace(
        concurrency=options.concurrency,
        timeout_seconds=options.timeout,
        retries=options.retries,
        backoff_seconds=options.backoff,
        requests_per_minute=options.requests_per_minute,
        tokens_per_minute=options.tokens_per_minute,
    )
    return CalibrationPlan(
        endpoint=endpoint,
        grader=options.grader,
        journal=_journal(options),
        budget=options.budget,
        pace=pace,
        tolerance=options.tolerance,
        judge=_judge(options, endpoint),
        until_half_width=options.until_interval,
    )


def _judge(options: argparse.Namespace, llm: "Endpoint") -> Any:
    from unirouter_torch.measurement.budget import Prices
    from unirouter_torch.measurement.endpoint import Endpoint
    from unirouter_torch.measurement.plan import Judge

    if options.judge_model is None:
        return None
    if options.judge_price_in is None or options.judge_price_out is None:
        raise ConfigError("--judge-price-in, --judge-price-out: not given; the budget includes the judge. Give both.")
    endpoint = Endpoint(
        base_url=options.judge_base_url or llm.base_url,
        model=options.judge_model,
        prices=Prices(price_in=options.judge_price_in, price_out=options.judge_price_out),
        max_tokens=options.judge_max_tokens,
    )
    if options.rubric is None:
        return Judge(endpoint=endpoint)
    return Judge(endpoint=endpoint, rubric=Path(options.rubric).read_text(encoding="utf-8"))


def _object(key: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{key}: got {text!r}, expected a JSON object ({error}).") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{key}: got {text!r}, expected a JSON object.")
    return found


def _journal(options: argparse.Namespace) -> Path:
    if options.journal is not None:
        return Path(options.journal)
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in options.llm)
    return Path(options.router).absolute().parent / f"calibrate_{name}.jsonl"


def _check_pool(router: "Router", options: argparse.Namespace) -> None:
    """Refuse before a dollar is spent what would be refused afterwards."""
    from unirouter_torch.routing.pooled_llm import check_cost

    router.reload_pool()  # refuses a router that lies in no folder, where the LLM could not be kept
    check_cost(options.llm, options.cost or 0.0)
    if options.llm in router.pool.names:
        raise PoolError(f"pool: {options.llm!r} is in it already. Remove it first, or choose another --llm.")
    if options.cost is None and router.pool.cost_unit != DOLLARS:
        raise PoolError(f"pool: its costs are in {router.pool.cost_unit}, which calls do not tell. Give --cost.")


def _questions(router: "Router", references: str | None, plan: "CalibrationPlan") -> "list[Question]":
    from unirouter_torch.measurement.measure import Question, in_random_order
    from unirouter_torch.measurement.references import read_references

    if references is None and plan.needs_reference:
        raise ConfigError(f"--references: not given; the grader {plan.grader} compares answers with them.")
    known = read_references(Path(references)) if references else {}
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
        "no answer": f"{len(found.unfinished)} answers end within the reasoning; they count as empty"
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
