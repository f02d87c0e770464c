"""What wrong, graded and missing labels of new LLMs cost, on the trials of unirouter evaluate.

python scripts/imperfect_calibration.py --output runs/imperfect_zeroeval --config configs/research/zeroeval.yaml
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from unirouter_torch.cli.output import SETTINGS_EPILOG, guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.deferral import area_under_deferral_curve, deferral_curve
from unirouter_torch.metrics.statistics import bootstrap_mean
from unirouter_torch.progress import progress
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error, sum_by_cluster
from unirouter_torch.routing.consensus import consensus_error
from unirouter_torch.routing.label_noise import PromptDifficulty, correct_flips, estimate_flip_rate, fit_difficulty
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.storage import read_json, write_json

FLIP_RATE = 0.2
NUM_DRAWS = 4
NUM_WRONG_ANSWERS = 9
NUM_ASSUMED = 2
"""Wrong answers that the consensus takes to be plausible: few, as some are popular."""
POPULAR_SHARES = (0.0, 0.3, 0.5)
"""How often a wrong LLM gives the most tempting wrong answer of a prompt instead of any."""

Figures = dict[str, float]


class Bench(NamedTuple):
    """One trial with its trained head, and the seen LLMs on its calibration and test prompts."""

    trial: Trial
    end_to_end: EndToEnd
    pool: Outcomes
    pool_test: Outcomes
    pool_cost: Tensor
    known: PromptDifficulty
    config: TrainConfig

    def estimate(self, error: Tensor, observed: Tensor | None = None) -> Tensor:
        """Estimated test errors of LLMs with these calibration outcomes."""
        calibration = self.trial.calibration
        outcomes = Outcomes(calibration.embedding, error, calibration.observed if observed is None else observed)
        return self.end_to_end.estimate_error(self.trial.test.embedding, self.end_to_end.represent(outcomes))

    def area(self, estimated: Tensor, cost: Tensor, test: Outcomes, axis: Tensor | None = None) -> float:
        """Area of a pool; relative costs refer to the costs of ``axis``, those of the pool by default."""
        curve = deferral_curve(estimated, cost, test.error, test.observed)
        return area_under_deferral_curve(curve, cost if axis is None else axis, self.config.evaluation.curve)


def make_bench(config: TrainConfig, embedded: EmbeddedTable, seed: int) -> Bench:
    """Fit the end-to-end method on a trial."""
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(config, embedded, split, seed)
    end_to_end = trial.fitted(EndToEnd)
    seen = Outcomes(embedded.embedding, embedded.table.error, embedded.table.observed).of_llms(split.seen_llms)
    pool = seen.of_prompts(trial.calibration_prompts)
    known = fit_difficulty(pool.error, pool.observed)
    return Bench(trial, end_to_end, pool, seen.of_prompts(split.test_prompts), trial.tuning.cost, known, config)


def flip(error: Tensor, seed: int) -> Tensor:
    """The outcomes, each flipped with the same probability."""
    flipped = torch.rand(error.shape, generator=torch.Generator().manual_seed(seed)) < FLIP_RATE
    return torch.where(flipped, 1 - error, error)


def affine_sums(bench: Bench, noisy: Tensor) -> Tensor:
    """Estimated test errors from ``(e - f) / (1 - 2f)``, clipped at the sums of the clusters."""
    head, calibration = bench.end_to_end.head, bench.trial.calibration
    unbiased = (noisy - FLIP_RATE) / (1 - 2 * FLIP_RATE)
    sums = sum_by_cluster(head(calibration.embedding), unbiased, calibration.observed)
    clipped = ClusterSums(torch.minimum(sums.error.clamp(min=0), sums.weight), sums.weight)
    return estimate_error(head(bench.trial.test.embedding), head.cluster_error(clipped))


def correct(bench: Bench, noisy: Tensor, rates: Sequence[float]) -> Tensor:
    """Corrected outcomes, with a flip rate for each LLM."""
    observed = bench.trial.calibration.observed
    columns = [correct_flips(noisy[:, [llm]], observed[:, [llm]], bench.known, rate) for llm, rate in enumerate(rates)]
    return torch.cat(columns, dim=1)


def flipped_labels(bench: Bench, seed: int) -> Figures:
    """Area and squared error lost to flips, where all new LLMs are noisy and where every other one is."""
    trial, cost = bench.trial, bench.trial.test_cost
    observed, num_llms = trial.calibration.observed, len(bench.trial.test_cost)
    clean = bench.estimate(trial.calibration.error)
    best, least = bench.area(clean, cost, trial.test), mean_squared_error(clean, trial.test)
    found: Figures = {"area with true labels": best, "squared error with true labels": least}
    rates = estimate_flip_rate(trial.calibration.error, observed, bench.known)
    found["flip rate estimated from true labels"] = float(rates.mean())
    for draw in range(NUM_DRAWS):
        noisy = flip(trial.calibration.error, 1000 * draw + seed)
        rates = estimate_flip_rate(noisy, observed, bench.known)
        variants = {
            "plain": bench.estimate(noisy),
            "affine": affine_sums(bench, noisy),
            "corrected": bench.estimate(correct_flips(noisy, observed, bench.known, FLIP_RATE)),
            "corrected by estimated rate": bench.estimate(correct(bench, noisy, rates.tolist())),
        }
        every_other = torch.arange(num_llms) % 2 == draw % 2
        figures = {"flip rate estimated from flipped labels": float(rates.mean())}
        for name, estimated in variants.items():
            half = torch.where(every_other, estimated, clean)
            figures[f"all noisy, {name}: area lost"] = best - bench.area(estimated, cost, trial.test)
            figures[f"half noisy, {name}: area lost"] = best - bench.area(half, cost, trial.test)
            figures[f"all noisy, {name}: squared error"] = mean_squared_error(estimated, trial.test) - least
        for key, value in figures.items():
            found[key] = found.get(key, 0.0) + value / NUM_DRAWS
    return found


def mean_squared_error(estimated: Tensor, test: Outcomes) -> float:
    """Over the observed pairs."""
    return float((estimated - test.error)[test.observed].square().mean())


def judge(error: Tensor, seed: int) -> Tensor:
    """A graded judge of no training: a score from 0.6 to 1 for a right answer, from 0 to 0.7 for a wrong one."""
    draw = torch.rand(error.shape, generator=torch.Generator().manual_seed(seed))
    return torch.where(error > 0.5, 0.3 + 0.7 * draw, 0.4 * draw)


def invent_answers(error: Tensor, observed: Tensor, popular: float, seed: int) -> Tensor:
    """Answers: right ones (0) where the outcome is, else a wrong one, the first with a share of its own."""
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.randint(1, NUM_WRONG_ANSWERS + 1, error.shape, generator=generator)
    wrong = torch.where(torch.rand(error.shape, generator=generator) < popular, 1, wrong)
    return torch.where(error > 0.5, wrong, 0).masked_fill(~observed, -1)


def agree(bench: Bench, popular: float, seed: int) -> Tensor:
    """Errors of the new LLMs by agreement with the seen ones, whose abilities are known from training prompts."""
    trial, calibration = bench.trial, bench.trial.calibration
    known = bench.end_to_end.estimate_error(calibration.embedding, bench.end_to_end.represent(trial.train))
    error, observed = (torch.cat(parts, 1) for parts in zip(bench.pool[1:], calibration[1:], strict=True))
    answers = invent_answers(error, observed, popular, seed)
    votes, mine = answers[:, : bench.pool.error.shape[1]], answers[:, bench.pool.error.shape[1] :]
    columns = [consensus_error(one.clamp(min=0), votes, known, NUM_ASSUMED) for one in mine.T]
    return torch.stack(columns, dim=1)


def onboarding(bench: Bench, seed: int) -> Figures:
    """Area gained when one new LLM joins the seen ones, by what is known of it; mean over the new LLMs."""
    trial, calibration = bench.trial, bench.trial.calibration
    pool = bench.estimate(bench.pool.error, bench.pool.observed)
    noisy = flip(calibration.error, seed)
    nothing = pool.mean(1, keepdim=True).expand(-1, len(trial.test_cost))
    variants = {
        "labels": bench.estimate(calibration.error),
        "flipped labels": bench.estimate(noisy),
        "flipped labels, corrected": bench.estimate(correct_flips(noisy, calibration.observed, bench.known, FLIP_RATE)),
        "a judge's scores": bench.estimate(judge(calibration.error, seed)),
        "nothing: the mean of the pool": nothing,
    }
    for popular in POPULAR_SHARES:
        variants[f"agreement, {popular:.0%} popular wrong answers"] = bench.estimate(agree(bench, popular, seed))
    return {f"joins by {name}": _gain(bench, pool, estimated) for name, estimated in variants.items()}


def _gain(bench: Bench, pool: Tensor, estimated: Tensor) -> float:
    """Mean gain in area over the new LLMs; with and without one, costs are relative to the same most expensive LLM."""
    rows = bench.pool_test.observed.any(1).nonzero().squeeze(1)
    pool, estimated = pool[rows], estimated[rows]
    seen, new, gains = bench.pool_test.of_prompts(rows), bench.trial.test.of_prompts(rows), []
    for llm in range(estimated.shape[1]):
        cost = torch.cat([bench.pool_cost, bench.trial.test_cost[[llm]]])
        error, observed = (torch.cat([old, one[:, [llm]]], 1) for old, one in zip(seen[1:], new[1:], strict=True))
        joined = Outcomes(seen.embedding, error, observed)
        area = bench.area(torch.cat([pool, estimated[:, [llm]]], 1), cost, joined)
        gains.append(area - bench.area(pool, bench.pool_cost, seen, axis=cost))
    return sum(gains) / len(gains)


def compute(config: TrainConfig, embedded: EmbeddedTable, seed: int, folder: Path) -> Figures:
    """The figures of one trial, from its file where it is kept."""
    path = folder / f"seed_{seed}.json"
    if not path.exists():
        bench = make_bench(config, embedded, seed)
        with torch.inference_mode():
            write_json(path, flipped_labels(bench, seed) | onboarding(bench, seed))
    figures: Figures = read_json(path)
    return figures


def run(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """All trials, and their means with 95% intervals."""
    at_least("--trials", options.trials, 1)
    config = parse_config(settings, program="imperfect_calibration.py")
    embedded = embed_table(config)
    seeds = progress(range(options.trials), "trials")
    found = [compute(config, embedded, seed, options.output) for seed in seeds]
    print(f"{embedded.table.name}, {len(found)} trials\n\n| figure | mean [95% interval] |\n|---|---|")
    for name in found[0]:
        mean, low, high = bootstrap_mean([figures[name] for figures in found])
        print(f"| {name} | {mean:.4f} [{low:.4f}, {high:.4f}] |")


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=SETTINGS_EPILOG)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder that keeps finished trials")
    parser.add_argument("--trials", type=int, default=24, metavar="N", help="number of trials (default: %(default)s)")
    options, settings = parser.parse_known_args()
    return guarded(lambda: run(options, settings))


if __name__ == "__main__":
    sys.exit(main())
