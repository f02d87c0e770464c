"""How often the drift alarm is false, how soon it finds a change, and what feedback and forgetting are worth.

python scripts/feedback_stream.py --config configs/research/zeroeval.yaml
"""

import argparse
import math
import sys
from collections.abc import Sequence
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
from unirouter_torch.progress import progress
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error, sum_by_cluster
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.feedback import add_outcomes
from unirouter_torch.routing.head import ClusterHead

HALF_LIVES = (math.inf, 1000.0, 200.0)
BATCH = 20
FEWEST_OUTCOMES = 200
"""Test outcomes that an LLM needs for a stream."""

WORSE_BY = 0.15
"""How much more another LLM errs that takes the place of one."""


class Stream(NamedTuple):
    """Outcomes of one LLM in the order in which they come."""

    probability: Tensor
    error: Tensor


class Followed(NamedTuple):
    """What became of a stream: after how many outcomes the alarm rang, and the squared errors of the estimates."""

    alarm: int | None
    squared_error: Tensor


def follow(head: ClusterHead, sums: ClusterSums, stream: Stream, half_life: float | None) -> Followed:
    """Estimate, compare, and add outcomes batch by batch; without a half-life nothing is added."""
    test, alarm, squared = DriftTest.new(sums), None, []
    for start in range(0, len(stream.error), BATCH):
        probability, error = (part[start : start + BATCH] for part in stream)
        now, reference = (head.cluster_error(known) for known in (sums, test.reference))
        squared.append((estimate_error(probability, now).squeeze(1) - error).square())
        test = test.after(error, estimate_error(probability, reference).squeeze(1))
        if test.has_drifted and alarm is None:
            alarm = start + len(error)
        if half_life is not None:
            sums = add_outcomes(sums, probability, error, half_life)
    return Followed(alarm, torch.cat(squared))


def streams_of(head: ClusterHead, trial: Trial, llm: int, seed: int) -> dict[str, Stream]:
    """The test outcomes of an LLM in random order; the same, from the middle on flipped or of a worse LLM."""
    test, generator = trial.test, torch.Generator().manual_seed(1000 * seed + llm)
    quality = torch.where(test.observed, test.error, 0).sum(0) / test.observed.sum(0)
    worse = (quality - quality[llm] >= WORSE_BY) & (test.observed[:, [llm]] & test.observed).sum(0).ge(FEWEST_OUTCOMES)
    rows = test.observed[:, llm].nonzero().squeeze(1)
    rows = rows[torch.randperm(len(rows), generator=generator)]
    error, changed = test.error[rows, llm], torch.arange(len(rows)) >= len(rows) // 2
    streams = {"stationary": error, "flipped": torch.where(changed, 1 - error, error)}
    if worse.any():
        other = int(worse.nonzero()[0, 0])
        kept = ~changed | test.observed[rows, other]
        streams["replaced"] = torch.where(changed, test.error[rows, other], error).masked_fill(~kept, math.nan)
    probability = head(test.embedding[rows])
    return {name: Stream(probability[~e.isnan()], e[~e.isnan()]) for name, e in streams.items()}


def measure(head: ClusterHead, trial: Trial, seed: int) -> dict[str, list[float]]:
    """Alarms and squared errors of all new LLMs of a trial, by what happened to them."""
    found: dict[str, list[float]] = {}
    calibration = trial.calibration
    sums = sum_by_cluster(head(calibration.embedding), calibration.error, calibration.observed)
    for llm in range(len(trial.test_cost)):
        if int(trial.test.observed[:, llm].sum()) < FEWEST_OUTCOMES:
            continue
        own = ClusterSums(sums.error[[llm]], sums.weight[[llm]])
        for name, stream in streams_of(head, trial, llm, seed).items():
            middle = 0 if name == "stationary" else int(trial.test.observed[:, llm].sum()) // 2
            for half_life in (None, *HALF_LIVES):
                result = follow(head, own, stream, half_life)
                label = "no feedback" if half_life is None else f"half-life {half_life:g}"
                rang = result.alarm is not None and result.alarm > middle
                found.setdefault(f"{name}, {label}: alarm", []).append(float(rang))
                if middle and rang and result.alarm is not None:
                    found.setdefault(f"{name}, {label}: outcomes until it", []).append(result.alarm - middle)
                squared = result.squared_error[middle:].mean().item()
                found.setdefault(f"{name}, {label}: squared error", []).append(squared)
    return found


def fit_head(config: TrainConfig, embedded: EmbeddedTable, seed: int) -> tuple[ClusterHead, Trial]:
    """The trained head of a trial."""
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(config, embedded, split, seed)
    return trial.fitted(EndToEnd).head, trial


def run(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """All trials, then the means over the LLMs."""
    at_least("--trials", options.trials, 1)
    config = parse_config(settings, program="feedback_stream.py")
    embedded = embed_table(config)
    found: dict[str, list[float]] = {}
    for seed in progress(range(options.trials), "trials"):
        head, trial = fit_head(config, embedded, seed)
        with torch.inference_mode():
            for name, values in measure(head, trial, seed).items():
                found.setdefault(name, []).extend(values)
    print(f"{embedded.table.name}, {options.trials} trials\n\n| figure | streams | mean | median |\n|---|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {len(values)} | {sum(values) / len(values):.4f} | {torch.tensor(values).median():.4f} |")


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=SETTINGS_EPILOG)
    parser.add_argument("--trials", type=int, default=20, metavar="N", help="number of trials (default: %(default)s)")
    options, settings = parser.parse_known_args()
    return guarded(lambda: run(options, settings))


if __name__ == "__main__":
    sys.exit(main())
