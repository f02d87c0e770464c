"""What several settings of one LLM earn as LLMs of their own: a pool with all of them beside one setting of each.

    python scripts/settings_as_llms.py --config configs/research/trials_farel_bench.yaml --trials 10

Settings of one LLM are those of one group (``data.group_column``, ``data.same_llm``). Each trial trains one router on
the settings of the seen LLMs, and judges it on the unseen ones twice: by all of their settings, and by one of each LLM,
the one of the shortest name. Both are judged over the costs from 0 to that of the most expensive setting; once among
all unseen LLMs, and once among those that have several settings.
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


Found = dict[tuple[str, str], tuple[Figures, ...]]
"""Figures with one setting of each LLM, and with all, by kind of pool and method."""


def one_of_each(table: RoutingTable, llms: LLMSubset) -> LLMSubset:
    """Positions of one setting of each LLM: that of the shortest name, then of the first in the alphabet."""
    chosen: dict[int, int] = {}
    order = sorted(range(len(llms)), key=lambda place: (len(name := table.llm_names[int(llms[place])]), name))
    for place in order:
        chosen.setdefault(int(table.group[llms[place]]), place)
    return torch.tensor(sorted(chosen.values()))


def with_several(table: RoutingTable, llms: LLMSubset) -> LLMSubset:
    """Positions of the settings of LLMs that have several of them."""
    group = table.group[llms]
    return (group == group[:, None]).sum(0).gt(1).nonzero().squeeze(1)


def figures_of(trial: Trial, estimated: ErrorMatrix, llms: LLMSubset, competing: LLMSubset) -> Figures:
    """Figures of some LLMs, over the costs of those that compete."""
    truth, convention = trial.truth, trial.config.evaluation.curve
    curve = deferral_curve(estimated[:, llms], truth.cost[llms], truth.error[:, llms], truth.observed[:, llms])
    cost = truth.cost[competing]
    quality = (quality_within_budget(curve, cost, share, convention) for share in BUDGETS)
    return Figures(area_under_deferral_curve(curve, cost, convention), tuple(value or 0.0 for value in quality))


def pools_of(table: RoutingTable, unseen: LLMSubset) -> dict[str, tuple[LLMSubset, LLMSubset]]:
    """For each kind of pool, positions of one setting of each LLM, and of all settings."""
    pools = {}
    for title, llms in (("all LLMs", torch.arange(len(unseen))), ("LLMs with several", with_several(table, unseen))):
        if len(llms):
            pools[title] = (llms[one_of_each(table, unseen[llms])], llms)
    return pools


def run_trial(config: TrainConfig, embedded: EmbeddedTable, seed: int) -> Found:
    """Figures of each pool and method with one setting of each LLM, and with all."""
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(replace(config, seed=seed), embedded, split, seed)
    found = {}
    for name in METHODS:
        estimated = estimate_test(trial.fitted(method_class(name)), trial)
        for title, (one, everything) in pools_of(embedded.table, split.unseen_llms).items():
            sides = (figures_of(trial, estimated, llms, everything) for llms in (one, everything))
            found[title, name] = tuple(sides)
    return found


def compare(options: argparse.Namespace) -> None:
    """Run the trials and print."""
    at_least("--trials", options.trials, 1)
    torch.set_num_threads(1)
    config = parse_config(["--config", options.config])
    embedded = embed_table(config)
    trials = [run_trial(config, embedded, seed) for seed in progress(range(options.trials), "Trials")]
    split = split_table(embedded.table, seed=0, unseen_fraction=config.data.unseen_fraction)
    for title, (one, everything) in pools_of(embedded.table, split.unseen_llms).items():
        print(f"\n{embedded.table.name}, {title}: {len(everything)} settings of {len(one)} in the first trial")
        rows = [row_of(name, [trial[title, name] for trial in trials if (title, name) in trial]) for name in METHODS]
        budgets = [f"at {share:.0%} of the highest cost" for share in BUDGETS]
        print_table(f"method | one setting | all | gain in area | won : lost | p | gain {' | '.join(budgets)}", rows)


def row_of(name: str, pairs: list[tuple[Figures, ...]]) -> list[str]:
    """One method: its areas, and what all settings gain."""
    gains = [everything.area - one.area for one, everything in pairs]
    mean, low, high = bootstrap_mean(gains)
    areas = [f"{sum(pair[side].area for pair in pairs) / len(pairs):.4f}" for side in (0, 1)]
    won = f"{sum(gain > 0 for gain in gains)} : {sum(gain < 0 for gain in gains)}"
    of_budgets = zip(
        *([a - b for a, b in zip(all_of.quality, one.quality, strict=True)] for one, all_of in pairs), strict=True
    )
    gained = [f"{sum(gains_at) / len(gains_at):+.4f}" for gains_at in of_budgets]
    title = method_class(name).title
    return [title, *areas, f"{mean:+.4f} ({low:+.4f} to {high:+.4f})", won, f"{sign_test(gains):.2g}", *gained]


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE", help="table, groups and training")
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="default: %(default)s")
    options = parser.parse_args()
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    sys.exit(main())
