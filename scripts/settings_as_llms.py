"""What several settings of one LLM earn as LLMs of their own: a pool with all of them beside one setting of each.

    python scripts/settings_as_llms.py --config configs/research/trials_farel_bench.yaml --trials 10

Settings of one LLM are those of one group (``data.group_column``, ``data.same_llm``). Each trial trains one router on
the settings of the seen LLMs, and judges it on the unseen ones twice: by all of their settings, and by one of each LLM,
the one of the shortest name. Both are judged over the costs from 0 to that of the most expensive setting.
"""

import argparse
import sys
from dataclasses import replace
from typing import NamedTuple

import torch
from benchmark_scoring import print_table

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.method_run import estimate_test
from unirouter_torch.methods.registry import method_class
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.deferral import area_under_deferral_curve, deferral_curve
from unirouter_torch.metrics.saving import quality_within_budget
from unirouter_torch.metrics.statistics import bootstrap_mean, sign_test
from unirouter_torch.progress import progress
from unirouter_torch.shapes import ErrorMatrix, LLMSubset

METHODS = ("zero", "kmeans", "end_to_end", "source_oracle", "oracle")
BUDGETS = (0.05, 0.1, 0.25, 0.5)
"""Shares of the highest cost for which qualities are compared."""


class Figures(NamedTuple):
    """Figures of one pool."""

    area: float
    quality: tuple[float, ...]
    """For each budget; 0 where nothing is that cheap."""


def one_of_each(table: RoutingTable, llms: LLMSubset) -> LLMSubset:
    """Positions of one setting of each LLM: that of the shortest name, then of the first in the alphabet."""
    chosen: dict[int, int] = {}
    order = sorted(range(len(llms)), key=lambda place: (len(name := table.llm_names[int(llms[place])]), name))
    for place in order:
        chosen.setdefault(int(table.group[llms[place]]), place)
    return torch.tensor(sorted(chosen.values()))


def figures_of(trial: Trial, estimated: ErrorMatrix, llms: LLMSubset) -> Figures:
    """Figures of some of the unseen LLMs, over the costs of all of them."""
    truth, convention = trial.truth, trial.config.evaluation.curve
    curve = deferral_curve(estimated[:, llms], truth.cost[llms], truth.error[:, llms], truth.observed[:, llms])
    quality = (quality_within_budget(curve, truth.cost, share, convention) for share in BUDGETS)
    return Figures(area_under_deferral_curve(curve, truth.cost, convention), tuple(value or 0.0 for value in quality))


def run_trial(config: TrainConfig, embedded: EmbeddedTable, seed: int) -> dict[str, tuple[Figures, Figures]]:
    """Figures of each method with one setting of each LLM, and with all."""
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(replace(config, seed=seed), embedded, split, seed)
    one, everything = one_of_each(embedded.table, split.unseen_llms), torch.arange(len(split.unseen_llms))
    found = {}
    for name in METHODS:
        estimated = estimate_test(trial.fitted(method_class(name)), trial)
        found[name] = (figures_of(trial, estimated, one), figures_of(trial, estimated, everything))
    return found


def compare(options: argparse.Namespace) -> None:
    """Run the trials and print."""
    at_least("--trials", options.trials, 1)
    torch.set_num_threads(1)
    config = parse_config(["--config", options.config])
    embedded = embed_table(config)
    trials = [run_trial(config, embedded, seed) for seed in progress(range(options.trials), "Trials")]
    split = split_table(embedded.table, seed=0, unseen_fraction=config.data.unseen_fraction)
    num_one = len(one_of_each(embedded.table, split.unseen_llms))
    print(f"\n{embedded.table.name}: {len(split.unseen_llms)} settings of {num_one} unseen LLMs in the first trial")
    rows = []
    for name in METHODS:
        one, everything = ([trial[name][side] for trial in trials] for side in (0, 1))
        gains = [all_of_them.area - single.area for single, all_of_them in zip(one, everything, strict=True)]
        mean, low, high = bootstrap_mean(gains)
        won = f"{sum(gain > 0 for gain in gains)} : {sum(gain < 0 for gain in gains)}"
        areas = [f"{sum(figures.area for figures in side) / len(side):.4f}" for side in (one, everything)]
        title = method_class(name).title
        rows.append([title, *areas, f"{mean:+.4f} ({low:+.4f} to {high:+.4f})", won, f"{sign_test(gains):.2g}"])
    print_table("method | one setting of each LLM | all settings | gain in area | won : lost | p", rows)
    rows = []
    for place, share in enumerate(BUDGETS):
        sides = [[trial["end_to_end"][side].quality[place] for trial in trials] for side in (0, 1)]
        gain, low, high = bootstrap_mean([after - before for before, after in zip(*sides, strict=True)])
        means = [f"{sum(side) / len(side):.4f}" for side in sides]
        rows.append([f"{share:.0%}", *means, f"{gain:+.4f} ({low:+.4f} to {high:+.4f})"])
    print_table("budget, of the highest cost | end-to-end, one setting | all settings | gain in quality", rows)


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE", help="table, groups and training")
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    sys.exit(main())
