"""Ways to train a static encoder with the routing loss, beside the head over the same encoder frozen.

python scripts/joint_training.py --splits inner --trials 3  # chooses: training prompts and seen LLMs, split again
python scripts/joint_training.py --splits outer --trials 10 --ways "head alone" "token weights, dropout .8"

Each way goes on from the frozen encoder's head, on full episodes that all pass through the encoder, and keeps the look
of the least validation loss, the start among them. Area and squared error of each trial go to
docs/evidence/joint_SPLITS.json, from which publish_results.py writes the tables. Interrupted, the same command goes on.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch
from compare_encoders import Trials, print_comparison, table_name
from joint_ways import WAYS, OtherOutcomes, Way, train

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.data.splits import Split, split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_other_tables, embed_table, load_encoder
from unirouter_torch.methods.end_to_end import FrozenEndToEnd
from unirouter_torch.methods.method_run import score_on_trial
from unirouter_torch.methods.trial import Trial, build_trial
from unirouter_torch.progress import progress
from unirouter_torch.storage import read_json, write_json

ROOT = Path(__file__).parents[1]
CONFIGS = [f"configs/research/trials_{name}.yaml" for name in ("mmlu_pro", "zeroeval", "llmrouter")]
STATIC, TEACHER = "unirouter-static", "sentence-transformers/all-MiniLM-L6-v2"
FROZEN = "frozen"
INNER_FRACTIONS = (0.7, 0.12, 0.18)


@functools.cache
def embedded(path: str, encoder: str) -> tuple[TrainConfig, PromptEncoder, EmbeddedTable]:
    """A table under an encoder."""
    config = parse_config(["--config", path, "--encoder.name", encoder])
    loaded = load_encoder(config)
    return config, loaded, embed_table(config, loaded)


@functools.cache
def other_tables(path: str, encoder: str) -> tuple[OtherTable, ...]:
    """The other large tables under an encoder, without the prompts of this one."""
    config, loaded, table = embedded(path, encoder)
    folders = [parse_config(["--config", other]).data.path for other in CONFIGS if other != path]
    config = replace(config, data=replace(config.data, tables=folders))
    return embed_other_tables(config, loaded, besides=table.table.prompt_texts)


def trial_of(path: str, splits: str, seed: int, encoder: str) -> Trial:
    """The trial of a seed, of this table alone."""
    config, _, table = embedded(path, encoder)
    split = split_table(table.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    config = replace(config, seed=seed)
    if splits == "outer":
        return build_trial(table.table, table.embedding, split, config, seed=seed, form_dim=table.form_dim)
    inner = part_of(table.table, split)
    config = replace(config, data=replace(config.data, num_calibration=min(200, config.data.num_calibration)))
    again = split_table(inner, seed=seed, unseen_fraction=1 / 3, prompt_fractions=INNER_FRACTIONS)
    return build_trial(inner, table.embedding[split.train_prompts], again, config, seed=seed, form_dim=table.form_dim)


def part_of(table: RoutingTable, split: Split) -> RoutingTable:
    """The training prompts and seen LLMs of a split as a table of its own."""
    rows, columns = split.train_prompts, split.seen_llms
    return replace(
        table,
        prompts=table.prompts.take(pa.array(rows.tolist())),
        llms=table.llms.take(pa.array(columns.tolist())),
        error=table.error[rows][:, columns],
        observed=table.observed[rows][:, columns],
        pair_cost=None if table.pair_cost is None else table.pair_cost[rows][:, columns],
        cost=replace(table.cost, value=table.cost.value[columns]),
        group=table.group[columns],
        content_hash=table.content_hash + ":inner",
    )


def others_of(way: Way, path: str, splits: str, trial: Trial, texts: list[str]) -> Iterator[OtherOutcomes]:
    """What the way takes from other tables, whose prompts join the texts."""
    if not way.others:
        return
    seed = trial.tuning.seed
    if way.others == "teacher":
        teaching = trial_of(path, splits, seed, TEACHER)
        teacher = teaching.fitted(FrozenEndToEnd)
        features = teacher.represent(teaching.train)
    for own, its in zip(other_tables(path, STATIC), other_tables(path, TEACHER), strict=True):
        rows = torch.arange(len(texts), len(texts) + len(own.train_texts))
        texts += own.train_texts
        if way.others == "teacher":
            error = teacher.estimate_error(its.train.embedding, features).detach()
            yield OtherOutcomes(rows, error, torch.ones_like(error, dtype=torch.bool), True)
        else:
            yield OtherOutcomes(rows, own.train.error, own.train.observed, False)


def trained_figures(way: Way, path: str, splits: str, trial: Trial) -> tuple[float, float]:
    """Area and squared error after the encoder was trained in a way."""
    texts = list(trial.table.prompt_texts)
    others = list(others_of(way, path, splits, trial, texts))
    head, embedding = train(way, trial, embedded(path, STATIC)[1], texts, others)
    view = trial.with_embedding(embedding)
    view.fitted_methods[FrozenEndToEnd] = fitted = FrozenEndToEnd()
    fitted.head = head
    return figures(view)


def figures(trial: Trial) -> tuple[float, float]:
    """Area and squared error of the trial's head on its test."""
    found = score_on_trial(FrozenEndToEnd, trial).figures
    area, squared = found["area"], found["mean_squared_error"]
    assert area is not None and squared is not None
    return round(area, 6), round(squared, 6)


def compare(options: argparse.Namespace) -> None:
    """Compute what the file lacks, and print it."""
    output = ROOT / "docs" / "evidence" / f"joint_{options.splits}.json"
    found: dict[str, dict[str, Trials]] = read_json(output) if output.exists() else {}
    for seed in progress(range(options.trials), "trials"):
        for path in options.configs:
            compute(path, options, seed, found.setdefault(table_name(path), {}), lambda: write_json(output, found))
    print_comparison(found, [table_name(path) for path in options.configs], [FROZEN, *options.ways])


def compute(
    path: str, options: argparse.Namespace, seed: int, found: dict[str, Trials], save: Callable[[], None]
) -> None:
    """The trials of one seed that are missing."""
    missing = [name for name in (FROZEN, *options.ways) if str(seed) not in found.get(name, {})]
    if not missing:
        return
    trial = trial_of(path, options.splits, seed, STATIC)
    for name in missing:
        value = figures(trial) if name == FROZEN else trained_figures(WAYS[name], path, options.splits, trial)
        found.setdefault(name, {})[str(seed)] = value
        save()


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--splits", choices=("inner", "outer"), required=True, help="inner to choose, outer to report")
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="splits of each table (default: 10)")
    parser.add_argument("--configs", nargs="+", default=CONFIGS, metavar="FILE", help="default: the three large tables")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS, metavar="WAY", help="default: all")
    return guarded(lambda: compare(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
