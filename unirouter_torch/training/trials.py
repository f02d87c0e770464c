"""The whole comparison again and again, with prompts and LLMs redrawn."""

import hashlib
import json
from pathlib import Path
from typing import Any

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import to_plain, write_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.errors import ConfigError
from unirouter_torch.evaluation.trials import evaluate_method
from unirouter_torch.evaluation.trials_report import TrialsReport
from unirouter_torch.progress import progress
from unirouter_torch.storage import read_json, write_json
from unirouter_torch.training.end_to_end import EndToEnd
from unirouter_torch.training.methods import build_method
from unirouter_torch.training.run import EmbeddedTable, embed_table, prepare_trial


def run_trials(config: TrainConfig, *, num_trials: int) -> TrialsReport:
    """Evaluate all methods on splits with the seeds ``config.seed``, ``config.seed + 1`` and so on.

    Every finished trial is kept in ``output_dir/trials``; the same command goes on where it was interrupted.

    Args:
        config: The run; logs and routers are not written.
        num_trials: How many trials, at least 1.

    Returns:
        The report, which is also written to ``output_dir``.

    Raises:
        UniRouterError: The config, the data or the encoder cannot be used, or ``output_dir`` holds trials of another
            config or table.
    """
    at_least("--trials", num_trials, 1)
    folder = Path(config.output_dir)
    embedded = embed_table(config)
    fingerprint = _fingerprint(config, embedded.table.content_hash)
    write_config(config, folder / "config.yaml")
    seeds = range(config.seed, config.seed + num_trials)
    trials = [
        _finished_or_new(folder / "trials" / f"seed_{seed}.json", fingerprint, config, embedded, seed)
        for seed in progress(seeds, "trials", total=num_trials)
    ]
    report = TrialsReport(table=embedded.table.describe(), trials=trials, reference=EndToEnd.name)
    report.write(folder)
    return report


def _finished_or_new(
    path: Path, fingerprint: str, config: TrainConfig, embedded: EmbeddedTable, seed: int
) -> dict[str, Any]:
    if path.exists():
        finished: dict[str, Any] = read_json(path)
        if finished.get("fingerprint") != fingerprint:
            raise ConfigError(
                f"{path}: a trial of another config or table. Choose another --output_dir, or delete {path.parent}."
            )
        return finished
    split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(config, embedded, split, seed)
    methods = {}
    for name in config.evaluation.methods:
        method = build_method(name, EndToEnd(config, log_folder=None), trial)
        scores = evaluate_method(method, trial, config.evaluation.curve)
        methods[name] = scores.figures() | {"chosen": method.describe()}
    result = {"seed": seed, "fingerprint": fingerprint, "split": split.describe(), "methods": methods}
    write_json(path, result)
    return result


def _fingerprint(config: TrainConfig, content_hash: str) -> str:
    """What a trial's numbers depend on, besides its seed."""
    plain = to_plain(config)
    for key in ("seed", "output_dir", "logger"):
        del plain[key]
    return hashlib.sha256(json.dumps([plain, content_hash], sort_keys=True).encode()).hexdigest()
