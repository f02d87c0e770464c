"""One trial of the comparison: what is kept of it, what is still missing, and its computation."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import Split, split_table
from unirouter_torch.errors import ConfigError
from unirouter_torch.experiments.embedded_table import EmbeddedTable
from unirouter_torch.experiments.fingerprint import settings_of
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.method_run import run_method
from unirouter_torch.methods.registry import Method, methods_to_compare
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.deferral import single_llm_quality
from unirouter_torch.metrics.figures import FIGURE_OF, figures_of
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.metrics.records import LLMRecord, MethodRecord, RecordT, TrialRecord, record_of
from unirouter_torch.storage import read_json, write_json


class TrialJob(NamedTuple):
    """One trial.

    Attributes:
        seed: Of the split, the calibration prompts and the methods.
        varied: Name of the setting that a sweep varies, and its value; None for a plain trial.
    """

    seed: int
    varied: tuple[str, int] | None = None

    def path(self, folder: Path) -> Path:
        """Where the finished trial is kept."""
        part = f"sweeps/{self.varied[0]}_{self.varied[1]}" if self.varied else "trials"
        return folder / part / f"seed_{self.seed}.json"


def read_kept(path: Path, fingerprint: str, kind: type[RecordT]) -> RecordT | None:
    """The record kept in ``path``; None where there is none.

    Raises:
        ConfigError: It is one of another table, config or version.
        DataError: It is damaged.
    """
    if not path.exists():
        return None
    values: dict[str, Any] = read_json(path)
    if values.get("fingerprint") != fingerprint:
        raise ConfigError(
            f"{path}: a trial of another table, config or version. Choose another output_dir, or delete this one."
        )
    return record_of(kind, values, path)


def missing_methods(config: TrainConfig, embedded: EmbeddedTable, job: TrialJob, kept: TrialRecord | None) -> list[str]:
    """Methods of a trial that are not kept, or were computed with other settings."""
    found = kept.methods if kept else {}
    settings = {name: settings_of(config, embedded, method) for name, method in _methods_of(config, job).items()}
    return [
        name
        for name, digest in settings.items()
        if name not in found
        or found[name].settings != digest
        or not FIGURE_OF.keys() <= found[name].figures.keys()  # kept before one of the figures was there
    ]


def with_methods_of(config: TrainConfig, job: TrialJob, trial: TrialRecord) -> TrialRecord:
    """The trial with the methods that the config asks for, in its order."""
    return trial.with_methods(list(_methods_of(config, job)))


class TrialTask(NamedTuple):
    """The methods to compute for a trial, and what is known of it already."""

    job: TrialJob
    kept: TrialRecord | None
    methods: list[str]


def compute_and_keep(config: TrainConfig, embedded: EmbeddedTable, fingerprint: str, task: TrialTask) -> TrialRecord:
    """Compute the methods of a task and write the trial to its place under ``output_dir``."""
    record = _compute(config, embedded, fingerprint, task)
    write_json(task.job.path(Path(config.output_dir)), record.to_json())
    return record


def _compute(config: TrainConfig, embedded: EmbeddedTable, fingerprint: str, task: TrialTask) -> TrialRecord:
    """One trial: figures of every method; diagnostics and what the stages took as well unless it is one of a sweep."""
    job = task.job
    name, value = job.varied or (None, 0)
    split = split_table(embedded.table, seed=job.seed, unseen_fraction=config.data.unseen_fraction)
    varied = config
    if name == "num_calibration":
        varied = replace(config, data=replace(config.data, num_calibration=value))
    if name == "num_clusters":
        varied = replace(config, head=replace(config.head, num_clusters=value))
    if name == "num_seen_llms":
        split = _with_seen_llms(split, value, job.seed)
    trial = prepare_trial(varied, embedded, split, job.seed, num_clusters=value if name == "num_clusters" else None)
    record = task.kept or TrialRecord(
        fingerprint=fingerprint,
        seed=job.seed,
        split=split.describe() | {"num_calibration": len(trial.calibration_prompts)},
        llms=_describe_llms(trial),
    )
    methods = _methods_of(config, job)
    for method_name in task.methods:
        method = methods[method_name]
        settings = settings_of(config, embedded, method)
        record = _with_method(record, method_name, method, trial, settings, is_sweep=job.varied is not None)
    return record


def _methods_of(config: TrainConfig, job: TrialJob) -> dict[str, Method]:
    methods = methods_to_compare(config)
    varies_clusters = job.varied is not None and job.varied[0] == "num_clusters"
    return {name: method for name, method in methods.items() if not varies_clusters or method.has_clusters}


def _with_method(
    record: TrialRecord, name: str, kind: Method, trial: Trial, settings: str, *, is_sweep: bool
) -> TrialRecord:
    method, estimated, stages = run_method(kind, trial)
    judged = Judged(estimated, trial.truth)
    found = MethodRecord(figures=figures_of(judged), chosen=method.describe(), settings=settings)
    record = replace(record, methods=record.methods | {name: found})
    if is_sweep:
        return record
    diagnostics = record.diagnostics | {name: judged.diagnose().record()}
    return replace(record, stages=record.stages | {name: stages}, diagnostics=diagnostics)


def _describe_llms(trial: Trial) -> list[LLMRecord]:
    quality = single_llm_quality(trial.test.error, trial.test.observed).tolist()
    names = [trial.table.llm_names[column] for column in trial.split.unseen_llms.tolist()]
    return [
        LLMRecord(name=name, cost=cost, quality=quality if quality == quality else None)
        for name, cost, quality in zip(names, trial.test_cost.tolist(), quality, strict=True)
    ]


def _with_seen_llms(split: Split, number: int, seed: int) -> Split:
    order = torch.randperm(len(split.seen_llms), generator=torch.Generator().manual_seed(seed))
    return split._replace(seen_llms=split.seen_llms[order[:number]].sort().values)
