"""Compare routers over several encoders, on the same trials: area and squared error, intervals, sign tests.

python scripts/compare_encoders.py --output docs/evidence/encoders.json --trials 30 \
  --configs configs/research/trials_zeroeval.yaml configs/research/trials_llmrouter.yaml \
  --contenders sentence-transformers/all-MiniLM-L6-v2 unirouter-static \
  sentence-transformers/all-MiniLM-L6-v2+encoder.form_weight=1 unirouter-static+encoder_training.mode=full

A trial that the file has is not computed again: interrupted, the same command goes on, and further tables, contenders
and trials join. All contenders have the first trial before any has the second.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmark_scoring import print_table

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.method_run import score_on_trial
from unirouter_torch.methods.registry import method_class
from unirouter_torch.metrics.statistics import Interval, bootstrap_mean, sign_test
from unirouter_torch.progress import progress
from unirouter_torch.storage import read_json, write_json

Trials = dict[str, tuple[float, float]]
"""Area and squared error of one contender on one table, by the seed of the trial."""


class Contender(NamedTuple):
    """A router to compare: ``ENCODER[@METHOD][+SETTING=VALUE...]``, ``end_to_end`` where no method is named."""

    encoder: str
    method: str
    settings: tuple[str, ...]

    @classmethod
    def of(cls, words: str) -> "Contender":
        """Read one."""
        name, *settings = words.split("+")
        encoder, _, method = name.partition("@")
        return cls(encoder, method or "end_to_end", tuple(f"--{setting}" for setting in settings))

    def config(self, path: str) -> TrainConfig:
        """The config of a table with this encoder and these settings."""
        return parse_config(["--config", path, "--encoder.name", self.encoder, *self.settings])


class Comparison(NamedTuple):
    """How the trials of one contender differ from those of the reference.

    Attributes:
        difference: Mean of the differences, with its interval.
        more: Trials in which the contender has the larger figure.
        less: Trials in which it has the smaller one.
        p: Of the two-sided sign test.
    """

    difference: Interval
    more: int
    less: int
    p: float


def compare_trials(trials: Trials, reference: Trials, figure: int) -> Comparison:
    """One figure (0 the area, 1 the squared error) over the trials that both have."""
    differences = [trials[seed][figure] - reference[seed][figure] for seed in trials if seed in reference]
    more, less = sum(d > 0 for d in differences), sum(d < 0 for d in differences)
    return Comparison(bootstrap_mean(differences), more, less, sign_test(differences))


@functools.cache
def embedded_table(path: str, words: str) -> EmbeddedTable:
    """The table of a config under the encoder of a contender."""
    return embed_table(Contender.of(words).config(path))


def run_trial(path: str, words: str, seed: int) -> tuple[float, float]:
    """Area and squared error of a contender on the test of one trial."""
    contender, embedded = Contender.of(words), embedded_table(path, words)
    config = contender.config(path)
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(replace(config, seed=seed), embedded, split, seed)
    figures = score_on_trial(method_class(contender.method), trial).figures
    area, squared = figures["area"], figures["mean_squared_error"]
    assert area is not None and squared is not None
    return area, squared


def run_trials(options: argparse.Namespace) -> dict[str, dict[str, Trials]]:
    """Compute what the file lacks."""
    found: dict[str, dict[str, Trials]] = read_json(options.output) if options.output.exists() else {}
    for seed in progress(range(options.trials), "trials"):
        for path in options.configs:
            for words in options.contenders:
                trials = found.setdefault(table_name(path), {}).setdefault(words, {})
                if str(seed) not in trials:
                    area, squared = run_trial(path, words, seed)
                    trials[str(seed)] = (round(area, 6), round(squared, 6))
                    write_json(options.output, found)
    return found


def table_name(path: str) -> str:
    """How a table is called: as its config."""
    return Path(path).stem.removeprefix("trials_")


def summary(trials: Trials, reference: Trials) -> list[str]:
    """Cells of one contender: trials, its means and the reference's, and how each figure differs."""
    shared = [seed for seed in trials if seed in reference]
    means, expected = (
        [sum(of[seed][figure] for seed in shared) / len(shared) for figure in (0, 1)] for of in (trials, reference)
    )
    area, squared = (compare_trials(trials, reference, figure) for figure in (0, 1))
    return [
        str(len(shared)),
        *(f"{pair[0]:.4f} / {pair[1]:.4f}" for pair in (means, expected)),
        f"{with_interval(area.difference)}, {area.more} : {area.less}, p = {area.p:.2g}",
        f"{means[1] / expected[1] - 1:+.1%}, {with_interval(squared.difference)}, {squared.less} : {squared.more}, "
        f"p = {squared.p:.2g}",
    ]


def with_interval(interval: Interval) -> str:
    """A difference with its 95% interval; alone where all trials have the same, as one has with itself."""
    if interval.low == interval.high:
        return f"{interval.mean:+.4f}"
    return f"{interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def print_comparison(found: dict[str, dict[str, Trials]], tables: Sequence[str], contenders: Sequence[str]) -> None:
    """One row for each table and contender, beside the first contender."""
    print_table(
        "table | contender | trials | area / squared error | the first's | area: difference [95% interval], won : lost "
        "| squared error: difference [95% interval], won : lost",
        [
            [table, words, *summary(found[table][words], found[table][contenders[0]])]
            for table in tables
            for words in contenders
        ],
    )


def compare(options: argparse.Namespace) -> None:
    """Compute, write and print."""
    at_least("--trials", options.trials, 1)
    found = run_trials(options)
    print_comparison(found, [table_name(path) for path in options.configs], options.contenders)


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="JSON file to write and to go on with"
    )
    parser.add_argument("--configs", nargs="+", required=True, metavar="FILE", help="one for each table")
    parser.add_argument(
        "--contenders",
        nargs="+",
        required=True,
        metavar="NAME",
        help="ENCODER[@METHOD][+SETTING=VALUE...]; first: reference",
    )
    parser.add_argument("--trials", type=int, default=30, metavar="N", help="splits of each table (default: 30)")
    options = parser.parse_args()
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    sys.exit(main())
