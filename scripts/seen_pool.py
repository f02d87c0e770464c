"""Small logs whose LLMs are all seen: routers that know them by calibration prompts alone, and by all their outcomes.

Each trial draws a log of 800 prompts and 6 LLMs from a table, and a split of its prompts:

python scripts/seen_pool.py --output runs/seen_pool.json --trials 10 --tables simulated ../shared/data/llmrouter_default
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from benchmark_scoring import print_table

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import draw_calibration, split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.method_run import score_on_trial
from unirouter_torch.methods.registry import display_name, methods_to_compare
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.statistics import sign_test
from unirouter_torch.progress import progress
from unirouter_torch.storage import write_json

METHODS = "[zero, kmeans, learned_map, item_response, end_to_end]"
RULES = ("calibration prompts", "all outcomes")


def log_of(embedded: EmbeddedTable, seed: int, num_prompts: int, num_llms: int) -> EmbeddedTable:
    """A log drawn from a table: some prompts, and some LLMs that answered some of them."""
    table, generator = embedded.table, torch.Generator().manual_seed(seed)
    llms = torch.randperm(table.num_llms, generator=generator)[:num_llms].sort().values
    answered = table.observed[:, llms].any(1).nonzero().squeeze(1)
    rows = answered[torch.randperm(len(answered), generator=generator)[:num_prompts]].sort().values
    log: RoutingTable = replace(
        table,
        prompts=table.prompts.take(rows.numpy()),
        llms=table.llms.take(llms.numpy()),
        error=table.error[rows][:, llms],
        observed=table.observed[rows][:, llms],
        pair_cost=None,
        cost=replace(table.cost, value=table.cost.value[llms]),
        group=table.group[llms],
        content_hash=f"{table.content_hash}:{seed}",
    )
    return replace(embedded, table=log, embedding=embedded.embedding[rows])


def with_few_labels(trial: Trial) -> Trial:
    """The trial as it was before the rule: calibration prompts alone, and methods that are tuned for so many."""
    prompts = draw_calibration(trial.split, num_prompts=trial.config.data.num_calibration, seed=trial.tuning.seed)
    tuning = trial.tuning._replace(num_calibration=len(prompts))
    return replace(trial.with_calibration(prompts), tuning=tuning, fitted_methods={})


def areas_of(config: TrainConfig, embedded: EmbeddedTable, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Area of each method by each rule, on the test prompts of one trial."""
    log = log_of(embedded, seed, options.prompts, options.llms)
    split = split_table(log.table, seed=seed, unseen_fraction=0.0)
    trial = prepare_trial(replace(config, seed=seed), log, split, seed)
    trials = dict(zip(RULES, (with_few_labels(trial), trial), strict=True))
    return {
        rule: {name: score_on_trial(kind, one).figures["area"] for name, kind in methods_to_compare(config).items()}
        for rule, one in trials.items()
    }


def compare(options: argparse.Namespace) -> None:
    """Compare, write and print."""
    at_least("--trials", options.trials, 1)
    found, rows = {}, []
    for path in options.tables:
        words = ["--config", "own_log", "--data.path", path, "--evaluation.methods", METHODS, *options.settings]
        config = parse_config(words)
        embedded = embed_table(config)
        seeds = progress(range(options.trials), embedded.table.name)
        trials = [areas_of(config, embedded, seed, options) for seed in seeds]
        found[embedded.table.name] = trials
        write_json(options.output, found)
        for rule in RULES:
            mine = torch.tensor([trial[rule]["end_to_end"] for trial in trials], dtype=torch.float64)
            for name in trials[0][rule]:
                areas = torch.tensor([trial[rule][name] for trial in trials], dtype=torch.float64)
                ahead = mine - areas
                wins, losses = int((ahead > 0).sum()), int((ahead < 0).sum())
                contest = f"{wins} : {losses}, {ahead.mean():+.4f}, p = {sign_test(ahead.tolist()):.2g}"
                its = [embedded.table.name, rule, display_name(name), f"{areas.mean():.4f}"]
                rows.append([*its, "" if name == "end_to_end" else contest])
    print_table("table | LLMs known by | method | area | end-to-end won : lost, difference", rows)


def main() -> int:
    """Exit code as that of a command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON with the areas of every trial")
    parser.add_argument("--tables", nargs="+", default=["simulated"], help="tables to draw logs from")
    parser.add_argument("--trials", type=int, default=10, help="logs of each table")
    parser.add_argument("--prompts", type=int, default=800, help="prompts of a log")
    parser.add_argument("--llms", type=int, default=6, help="LLMs of a log")
    options, settings = parser.parse_known_args()
    options.settings = settings
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
