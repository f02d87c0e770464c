"""Estimates of cost and latency against what was billed and measured, on problems that no LLM was calibrated on.

    python scripts/billed_dollars.py ../shared/data/julia --trials 100

The table is a folder of Parquet files whose outcomes have ``cost_usd``, ``output_tokens`` and ``latency`` [seconds].
Each trial calibrates the bundled router on half of the sources of the prompts, and looks at the other half: prompts of
one source may be nearly one prompt, so a source is never on both sides.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from benchmark_scoring import print_table
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.data.load import load_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.errors import DataError
from unirouter_torch.progress import progress
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.token_cost import sum_tokens
from unirouter_torch.shapes import ClusterProbability, PromptSubset
from unirouter_torch.storage import write_json

LATENCY_WEIGHTS = (0.0, 0.003, 0.01, 0.03)
"""What a second costs in the routes that are compared [US dollars]."""
AGREES = 0.05
"""A list price agrees with the bills where estimates with the lengths as they turned out are off by at most this."""

PairMatrix = Float[Tensor, "prompt llm"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was billed, counted and timed for each pair of a table."""

    table: RoutingTable
    """The prompts and LLMs; costs are the mean billed dollars."""
    dollars: PairMatrix
    """Billed."""
    answer_tokens: PairMatrix
    """Length of each answer [tokens]."""
    seconds: PairMatrix
    """How long each call took."""
    prompt_tokens: Float[Tensor, " prompt"]
    """Length of each prompt, estimated from its characters [tokens]."""
    price_in: Float[Tensor, " llm"]
    """List price of a token of a prompt [US dollars]; NaN where unknown."""
    price_out: Float[Tensor, " llm"]
    """List price of a token of an answer [US dollars]; NaN where unknown."""

    def dollars_for(self, prompts: PromptSubset, answer_tokens: PairMatrix) -> PairMatrix:
        """Estimated dollars of some prompts by list prices, for answers of some lengths."""
        return self.prompt_tokens[prompts, None] * self.price_in + answer_tokens * self.price_out


def read_measured(folder: Path) -> Measured:
    """The table of a folder with all that was measured.

    Raises:
        DataError: A column is missing, or a pair was not measured.
    """
    table = load_table(str(folder), cost_rule="billed")
    row = {prompt_id: number for number, prompt_id in enumerate(table.prompt_ids)}
    column = {name: number for number, name in enumerate(table.llm_names)}
    outcomes = pq.read_table(folder / "outcomes.parquet").to_pylist()
    found = torch.full((3, len(row), len(column)), torch.nan, dtype=torch.float64)
    for one in outcomes:
        for number, name in enumerate(("cost_usd", "output_tokens", "latency")):
            value = one.get(name)
            found[number, row[one["prompt_id"]], column[one["model_id"]]] = torch.nan if value is None else value
    if found.isnan().any():
        raise DataError(f"{folder}: a pair has no cost_usd, output_tokens or latency; expected all of them.")
    prices = [
        [torch.nan if price is None else price / 1e6 for price in table.llms[name].to_pylist()]
        for name in ("price_in", "price_out")
    ]
    price_in, price_out = torch.tensor(prices, dtype=torch.float64)
    return Measured(
        table=table,
        dollars=found[0],
        answer_tokens=found[1],
        seconds=found[2],
        prompt_tokens=count_tokens(table.prompt_texts),
        price_in=price_in,
        price_out=price_out,
    )


def halves(table: RoutingTable, seed: int) -> tuple[PromptSubset, PromptSubset]:
    """Rows of the prompts of one half of the sources, and of the other."""
    order = torch.randperm(len(table.source_names), generator=torch.Generator().manual_seed(seed))
    first = torch.isin(table.source_index, order[: len(order) // 2])
    return first.nonzero().squeeze(1), (~first).nonzero().squeeze(1)


def fitted_latency(tokens: Float[Tensor, " prompt"], seconds: Float[Tensor, " prompt"]) -> Latency:
    """Seconds of a call and of each token of its answer, by least squares, neither of them negative."""
    beyond = tokens - tokens.mean()
    slope = max(0.0, float(beyond @ seconds / (beyond @ beyond).clamp(min=1e-9)))
    start = float(seconds.mean() - slope * tokens.mean())
    return (
        Latency(seconds=start, seconds_per_token=slope)
        if start >= 0
        else Latency(seconds_per_token=float(tokens @ seconds / (tokens @ tokens)))
    )


def calibrated(router: Router, measured: Measured, rows: PromptSubset, probability: ClusterProbability) -> Chooser:
    """What chooses among the LLMs, by their outcomes, bills by the token and seconds on some prompts.

    An LLM without a list price costs the mean that was billed.
    """
    table = measured.table
    prompts = {table.prompt_ids[row]: table.prompt_texts[row] for row in rows.tolist()}
    scores = {
        name: {table.prompt_ids[row]: 1 - float(table.error[row, column]) for row in rows.tolist()}
        for column, name in enumerate(table.llm_names)
    }
    billed = dict(zip(table.llm_names, measured.dollars[rows].mean(0).tolist(), strict=True))
    router.calibrate(prompts, scores, billed)
    counted = torch.ones(len(rows), dtype=torch.bool)
    llms = []
    for column, llm in enumerate(router.pool.llms):
        tokens, known = measured.answer_tokens[rows, column], not measured.price_in[column].isnan()
        price_in, price_out = (
            (float(prices[column]) for prices in (measured.price_in, measured.price_out)) if known else (0.0, 0.0)
        )
        llms.append(
            replace(
                llm,
                cost=0.0 if known else llm.cost,
                token_cost=sum_tokens(probability[rows], tokens, counted, price_in=price_in, price_out=price_out),
                latency=fitted_latency(tokens, measured.seconds[rows, column]),
            )
        )
    router.pool = replace(router.pool, llms=tuple(llms))
    return router.chooser(0.1)


def miss(predicted: PairMatrix, truth: PairMatrix) -> Float[Tensor, " llm"]:
    """Mean absolute difference of each LLM, as a share of its mean."""
    return (predicted - truth).abs().mean(0) / truth.mean(0)


def trial(router: Router, measured: Measured, probability: ClusterProbability, seed: int) -> dict[str, Any]:
    """What each way to predict misses by on held-out sources, and what routes there give and take."""
    known, held_out = halves(measured.table, seed)
    chooser = calibrated(router, measured, known, probability)
    size = (len(held_out), len(chooser.pool.names))
    tokens, dollars, seconds = (part[held_out] for part in (measured.answer_tokens, measured.dollars, measured.seconds))
    plain = chooser.cost.of_prompts(probability[held_out], measured.prompt_tokens[held_out])
    # a second at one dollar: what the latencies add to the costs are seconds
    timed = router.chooser(0.1, latency_weight=1.0).cost.of_prompts(
        probability[held_out], measured.prompt_tokens[held_out]
    )
    latencies = [llm.latency for llm in chooser.pool.llms]
    per_call, per_token = (
        torch.tensor([getattr(latency, name) for latency in latencies], dtype=torch.float64)
        for name in ("seconds", "seconds_per_token")
    )
    mean_answer = measured.answer_tokens[known].mean(0).expand(size)
    predicted = {
        "dollars": {
            "the mean bill of the LLM": measured.dollars[known].mean(0).expand(size),
            "list prices, mean length of its answers": measured.dollars_for(held_out, mean_answer),
            "list prices, expected length in the clusters of the prompt": plain,
            "list prices, the length as it turned out": measured.dollars_for(held_out, tokens),
        },
        "seconds": {
            "the median of the LLM": measured.seconds[known].median(0).values.expand(size),
            "seconds by the token, expected length in the clusters of the prompt": timed - plain,
            "seconds by the token, the length as it turned out": per_call + tokens * per_token,
        },
    }
    truth, rows = {"dollars": dollars, "seconds": seconds}, torch.arange(len(held_out))
    routes = []
    for weight in LATENCY_WEIGHTS:
        llm = router.chooser(0.1, latency_weight=weight).choose(probability[held_out], measured.prompt_tokens[held_out])
        error = measured.table.error[held_out][rows, llm]
        routes.append([1 - float(error.mean()), float(dollars[rows, llm].mean()), float(seconds[rows, llm].mean())])
    misses = {
        kind: {way: miss(value, truth[kind]).tolist() for way, value in ways.items()}
        for kind, ways in predicted.items()
    }
    return {"misses": misses, "routes": routes}


def check(options: argparse.Namespace) -> None:
    """Run the trials, write and print."""
    at_least("--trials", options.trials, 1)
    measured = read_measured(Path(options.table))
    router = Router.from_pretrained("unirouter-static")
    probability = router.cluster(measured.table.prompt_texts)
    trials = [trial(router, measured, probability, seed) for seed in progress(range(options.trials), "Trials")]
    found = summary(measured, trials)
    print_found(found)
    if options.output:
        write_json(options.output, found)


def summary(measured: Measured, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over the trials, as JSON values."""
    everything = torch.arange(measured.table.num_prompts)
    ratio = measured.dollars_for(everything, measured.answer_tokens).mean(0) / measured.dollars.mean(0)
    groups = {"the list price agrees": (ratio - 1).abs() <= AGREES, "all with a list price": ~ratio.isnan()}
    groups_of = {"dollars": groups, "seconds": {"all": torch.ones_like(ratio, dtype=torch.bool)}}

    def mean_miss(kind: str, way: str) -> dict[str, float]:
        misses = torch.tensor([one["misses"][kind][way] for one in trials], dtype=torch.float64).mean(0)
        return {group: float(misses[llms].mean()) for group, llms in groups_of[kind].items()}

    return {
        "table": measured.table.name,
        "trials": len(trials),
        "estimated_to_billed": {
            name: share for name, share in zip(measured.table.llm_names, ratio.tolist(), strict=True) if share == share
        },
        "misses": {kind: {way: mean_miss(kind, way) for way in trials[0]["misses"][kind]} for kind in groups_of},
        "routes": {
            f"{weight:g}": dict(zip(("quality", "dollars", "seconds"), means, strict=True))
            for weight, means in zip(
                LATENCY_WEIGHTS,
                torch.tensor([one["routes"] for one in trials], dtype=torch.float64).mean(0).tolist(),
                strict=True,
            )
        },
    }


def print_found(found: dict[str, Any]) -> None:
    """One table for each question."""
    ratios = found["estimated_to_billed"]
    print_table("LLM | estimated / billed", [[name, f"{ratio:.2f}"] for name, ratio in ratios.items()])
    agree = sum(abs(ratio - 1) <= AGREES for ratio in ratios.values())
    print(f"\n{agree} of {len(ratios)} list prices agree with the bills to {AGREES:.0%}")
    for kind, ways in found["misses"].items():
        groups = list(next(iter(ways.values())))
        rows = [[way, *(f"{misses[group]:.1%}" for group in groups)] for way, misses in ways.items()]
        print_table(f"{kind} by | {' | '.join(groups)}", rows)
    print_table(
        "price of a second | quality | dollars per prompt | seconds per prompt",
        [
            [weight, f"{route['quality']:.3f}", f"{route['dollars']:.5f}", f"{route['seconds']:.1f}"]
            for weight, route in found["routes"].items()
        ],
    )


def main() -> int:
    """Parse and check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", help="folder of Parquet files with bills, lengths and latencies")
    parser.add_argument("--trials", type=int, default=100, metavar="N", help="halves of the sources (default: 100)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON file to write")
    options = parser.parse_args()
    return guarded(lambda: check(options))


if __name__ == "__main__":
    sys.exit(main())
