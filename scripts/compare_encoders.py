"""Compare the end-to-end router over several encoders, on the same trials: area, squared error, sign tests.

python scripts/compare_encoders.py --output runs/encoders.json --trials 30 \
  --configs configs/research/trials_zeroeval.yaml configs/research/trials_llmrouter.yaml \
  --encoders sentence-transformers/all-MiniLM-L6-v2 unirouter-static sentence-transformers/all-MiniLM-L6-v2+form=1
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
from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.method_run import score_on_trial
from unirouter_torch.metrics.statistics import sign_test
from unirouter_torch.progress import progress
from unirouter_torch.storage import write_json


def with_encoder(config: TrainConfig, words: str) -> TrainConfig:
    """The config with an encoder written as ``NAME[+form=WEIGHT][+MODE[=RATE]]``, MODE one of ``encoder_training``."""
    name, *options = words.split("+")
    encoder, training = replace(config.encoder, name=name), config.encoder_training
    for option in options:
        key, _, value = option.partition("=")
        if key == "form":
            encoder = replace(encoder, form_weight=float(value))
        else:
            training = EncoderTrainingConfig(mode=key, learning_rate=float(value or 1e-3))  # type: ignore[arg-type]
    return replace(config, encoder=encoder, encoder_training=training)


def figures_of(config: TrainConfig, embedded: EmbeddedTable, seed: int) -> tuple[float, float]:
    """Area and squared error of the end-to-end router on the test of one trial."""
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(replace(config, seed=seed), embedded, split, seed)
    figures = score_on_trial(EndToEnd, trial).figures
    area, squared = figures["area"], figures["mean_squared_error"]
    assert area is not None and squared is not None
    return area, squared


def compare_on(path: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One table: every encoder, and how it stands to the first."""
    base = parse_config(["--config", path])
    configs = {words: with_encoder(base, words) for words in options.encoders}
    found = {}
    for words, config in configs.items():
        embedded = embed_table(config)
        trials = progress(range(options.trials), f"{embedded.table.name}: {words}")
        found[words] = torch.tensor([figures_of(config, embedded, seed) for seed in trials], dtype=torch.float64)
    first, rows = found[options.encoders[0]], []
    for words, figures in found.items():
        difference = figures - first
        wins, losses = int((difference[:, 0] > 0).sum()), int((difference[:, 0] < 0).sum())
        lower, higher = int((difference[:, 1] < 0).sum()), int((difference[:, 1] > 0).sum())
        area, squared = figures.mean(0).tolist()
        rows.append(
            {
                "config": path,
                "encoder": words,
                "trials": options.trials,
                "area": area,
                "mean_squared_error": squared,
                "area_difference": difference[:, 0].mean().item(),
                "area_wins": wins,
                "area_losses": losses,
                "area_p": sign_test(difference[:, 0].tolist()),
                "squared_error_ratio": squared / first[:, 1].mean().item(),
                "squared_error_wins": lower,
                "squared_error_losses": higher,
                "squared_error_p": sign_test(difference[:, 1].tolist()),
                "figures": figures.tolist(),
            }
        )
    return rows


def compare(options: argparse.Namespace) -> None:
    """Compare, write and print."""
    at_least("--trials", options.trials, 1)
    rows: list[dict[str, Any]] = []
    for path in options.configs:
        rows += compare_on(path, options)
        write_json(options.output, rows)
    print_table(
        "table | encoder | area | squared error | area less the first's (won : lost, p) | squared error / the first's "
        "(won : lost, p)",
        [
            [
                Path(row["config"]).stem.removeprefix("trials_"),
                row["encoder"],
                f"{row['area']:.4f}",
                f"{row['mean_squared_error']:.4f}",
                f"{row['area_difference']:+.4f} ({row['area_wins']} : {row['area_losses']}, {row['area_p']:.2g})",
                f"{row['squared_error_ratio']:.4f} ({row['squared_error_wins']} : {row['squared_error_losses']}, "
                f"{row['squared_error_p']:.2g})",
            ]
            for row in rows
        ],
    )


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--configs", nargs="+", required=True, metavar="FILE", help="one for each table")
    parser.add_argument(
        "--encoders",
        nargs="+",
        required=True,
        metavar="NAME",
        help="NAME[+form=WEIGHT][+MODE[=RATE]]; first: reference",
    )
    parser.add_argument("--trials", type=int, default=30, metavar="N", help="splits of each table (default: 30)")
    options = parser.parse_args()
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    sys.exit(main())
