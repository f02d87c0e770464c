"""What a cost that depends on the prompt is worth: realised cost at equal quality, beside one mean cost for each LLM.

    python scripts/compare_token_costs.py ../shared/data/mmlu_pro --trials 20

Both routers have the same soft clusters, cluster errors and calibration prompts, and pay the same estimated dollars for
each pair: list prices times tokens (characters / 4). They differ in the cost that they choose by.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.router import CHARS_PER_TOKEN, DEFAULT_ENCODER, HeadConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import draw_calibration, split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test
from unirouter_torch.progress import progress
from unirouter_torch.routing.cluster_error import estimate_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.token_cost import sum_tokens
from unirouter_torch.shapes import Embedding, ErrorMatrix, PromptSubset
from unirouter_torch.training.clustering import centroids_of

COST_WEIGHTS = torch.cat([torch.zeros(1), torch.logspace(-4, 3, 400)])
SHARES = torch.linspace(0.85, 1.0, 31).tolist()
"""Qualities at which costs are compared, as shares of the best single LLM's."""

ARMS = ("length of the prompt alone", "length of the prompt, expected length of the answer", "lengths as they turn out")
"""What a cost that depends on the prompt knows; the last one nobody knows before the answer."""

CostMatrix = Float[Tensor, "prompt llm"]


class Lengths(NamedTuple):
    """Tokens and prices of a table; NaN where an answer was not counted."""

    prompt_tokens: Float[Tensor, " prompt"]
    output_tokens: Float[Tensor, "prompt llm"]
    price_in: Float[Tensor, " llm"]
    price_out: Float[Tensor, " llm"]

    def paid(self) -> CostMatrix:
        """Estimated dollars of each pair."""
        return self.prompt_tokens[:, None] * self.price_in + self.output_tokens * self.price_out


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "default: %(default)s"
    parser.add_argument("table", help="folder of Parquet files with prices and lengths of answers")
    parser.add_argument("--trials", type=int, default=20, metavar="N", help=default)
    parser.add_argument("--num-calibration", type=int, default=400, metavar="N", help=default)
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, metavar="NAME", help=f"hub id or folder; {default}")
    options = parser.parse_args()
    return guarded(lambda: compare_over_trials(options))


def compare_over_trials(options: argparse.Namespace) -> None:
    """Print one row for each arm."""
    table = load_table(options.table, cost_rule="estimated")
    lengths = read_lengths(Path(options.table), table)
    encoder = PromptEncoder.from_pretrained(options.encoder)
    embedding = embed_with_cache(encoder, table.prompt_texts, cache_dir=cache_folder(None))
    ratios = [
        compare(table, lengths, embedding, options.num_calibration, seed)
        for seed in progress(range(options.trials), "Comparing")
    ]
    print("| cost by | realised cost at equal quality / that by mean costs | trials better | sign test p |")
    print("|---|---:|---:|---:|")
    for arm, of_trials in zip(ARMS, zip(*ratios, strict=True), strict=True):
        mean, low, high = bootstrap_mean(of_trials)
        better, p = sum(ratio < 1 for ratio in of_trials), sign_test([1 - ratio for ratio in of_trials])
        print(f"| {arm} | {mean:.3f} ({low:.3f} to {high:.3f}) | {better} of {len(of_trials)} | {p:.2g} |")


def read_lengths(folder: Path, table: RoutingTable) -> Lengths:
    """Tokens and prices in the order of a table."""
    row = {prompt_id: number for number, prompt_id in enumerate(table.prompt_ids)}
    column = {name: number for number, name in enumerate(table.llm_names)}
    output_tokens = torch.full((len(row), len(column)), torch.nan)
    outcomes = pq.read_table(folder / "outcomes.parquet").to_pylist()
    for one in outcomes:
        tokens, characters = one.get("output_tokens"), one.get("output_chars")
        if tokens is None and characters is not None:  # as the table itself tells what they cost
            tokens = characters / CHARS_PER_TOKEN
        if one["prompt_id"] in row and one["model_id"] in column and tokens is not None:
            output_tokens[row[one["prompt_id"]], column[one["model_id"]]] = tokens
    prices = (torch.tensor(table.llms[name].to_pylist()) / 1e6 for name in ("price_in", "price_out"))
    prompt_tokens = torch.tensor([len(text) / CHARS_PER_TOKEN for text in table.prompt_texts])
    return Lengths(prompt_tokens, output_tokens, *prices)


def compare(
    table: RoutingTable, lengths: Lengths, embedding: Embedding, num_calibration: int, seed: int
) -> list[float]:
    """Realised cost of each arm at equal quality, as a share of that by mean costs; geometric mean over qualities."""
    split = split_table(table, seed=seed, unseen_fraction=0.0)
    calibration = draw_calibration(split, num_prompts=num_calibration, seed=seed)
    test, settings = split.test_prompts, HeadConfig()
    centroids = centroids_of(embedding[split.train_prompts], seed)(settings.num_clusters)
    head = ClusterHead.from_centroids(
        centroids, sharpness=settings.sharpness, shrinkage=settings.initial_shrinkage
    ).requires_grad_(False)
    sums = sum_by_cluster(head(embedding[calibration]), table.error[calibration], table.observed[calibration])
    estimated = estimate_error(head(embedding[test]), head.cluster_error(sums))
    outcomes = Outcomes(
        table.error[test], lengths.paid()[test], table.observed[test] & ~lengths.output_tokens[test].isnan()
    )
    curves = [trace(estimated, cost, outcomes) for cost in costs(lengths, head, embedding, calibration, test)]
    best = max(
        float(1 - outcomes.error[seen, llm].mean())
        for llm, seen in enumerate(outcomes.observed.T)
        if seen.float().mean() > 0.9
    )
    reached = min(best, *(max(quality for quality, _ in curve) for curve in curves))
    qualities = [share * best for share in SHARES if share * best <= reached]
    logs = torch.tensor([[cost_at(curve, quality) for quality in qualities] for curve in curves]).log()
    return [float(ratio) for ratio in (logs[1:] - logs[0]).mean(-1).exp()]


class Outcomes(NamedTuple):
    """What is true of the test prompts."""

    error: ErrorMatrix
    paid: CostMatrix
    observed: Bool[Tensor, "prompt llm"]


def costs(
    lengths: Lengths, head: ClusterHead, embedding: Embedding, calibration: PromptSubset, test: PromptSubset
) -> list[CostMatrix]:
    """The cost that is chosen by on the test prompts: one mean for each LLM, then each arm."""
    probability, answers = head(embedding[calibration]), lengths.output_tokens[calibration]
    token_costs = [
        sum_tokens(probability, tokens, ~tokens.isnan(), price_in=float(price_in), price_out=float(price_out))
        for tokens, price_in, price_out in zip(answers.T, lengths.price_in, lengths.price_out, strict=True)
    ]
    shrinkage = float(head.shrinkage)
    by_cluster = torch.stack([one.price_out * one.output_tokens(shrinkage) for one in token_costs])
    prompts = lengths.prompt_tokens[test, None] * lengths.price_in
    mean_answer = answers.nanmean(0) * lengths.price_out
    mean = lengths.prompt_tokens[calibration].mean() * lengths.price_in + mean_answer
    return [
        mean.expand_as(prompts),
        prompts + mean_answer,
        prompts + head(embedding[test]) @ by_cluster.T,
        lengths.paid()[test],
    ]


def trace(estimated: ErrorMatrix, cost: CostMatrix, outcomes: Outcomes) -> list[tuple[float, float]]:
    """Realised quality and cost at each cost weight."""
    reference = float(outcomes.paid[outcomes.observed].double().mean())
    rows, points = torch.arange(len(estimated)), []
    for weight in COST_WEIGHTS.tolist():
        total = (estimated + weight * cost.nan_to_num() / reference).masked_fill(~outcomes.observed, torch.inf)
        chosen = total.argmin(-1)
        points.append((1 - float(outcomes.error[rows, chosen].mean()), float(outcomes.paid[rows, chosen].mean())))
    return points


def cost_at(points: list[tuple[float, float]], quality: float) -> float:
    """Least realised cost with at least this quality."""
    return min(cost for reached, cost in points if reached >= quality)


if __name__ == "__main__":
    sys.exit(main())
