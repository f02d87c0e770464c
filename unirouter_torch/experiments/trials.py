"""The whole comparison again and again, with prompts and LLMs redrawn, in parallel processes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import write_config
from unirouter_torch.config.fingerprint import digest_of
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import Split, split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.experiments.embedded_table import embed_table, load_encoder
from unirouter_torch.experiments.fingerprint import fingerprint_of
from unirouter_torch.experiments.trial_jobs import (
    TrialJob,
    TrialTask,
    compute_and_keep,
    missing_methods,
    read_kept,
    with_methods_of,
)
from unirouter_torch.methods.registry import methods_to_compare
from unirouter_torch.metrics.records import EmbeddingCost, TrialRecord, record_of
from unirouter_torch.metrics.stages import measure
from unirouter_torch.reports.html_report import render_html
from unirouter_torch.reports.trials_figures import draw_mean_curves, draw_sweep
from unirouter_torch.reports.trials_report import Sweep, SweepPoint, TrialsReport
from unirouter_torch.storage import read_json, write_atomically, write_json
from unirouter_torch.training.launch import require_one_device
from unirouter_torch.training.workers import run_in_workers

SWEEP_LABELS = {
    "num_calibration": "Calibration prompts",
    "num_clusters": "Clusters",
    "num_seen_llms": "Seen LLMs",
}
NUM_EMBEDDED = 128
"""Prompts that embedding is timed on, at most."""


def run_trials(config: TrainConfig, *, num_trials: int, num_workers: int) -> TrialsReport:
    """Evaluate the methods on splits with the seeds ``config.seed``, ``config.seed + 1`` and so on, and the sweeps.

    Every finished trial is kept under ``output_dir``; the same command goes on where it was interrupted, and with other
    methods, or other settings of the end-to-end router, only what these change is computed. The numbers do not depend
    on the order of the trials, nor on the number of workers.

    Args:
        config: The run; logs and routers are not written.
        num_trials: How many trials, at least 1.
        num_workers: Processes that compute trials, at least 1.

    Returns:
        The report, which is also written to ``output_dir``.

    Raises:
        UniRouterError: The config, the data or the encoder cannot be used, or ``output_dir`` holds trials of another
            config or table.
    """
    at_least("trials", num_trials, 1)
    at_least("workers", num_workers, 1)
    require_one_device(config, "trials run beside one another, as `workers` says")
    methods_to_compare(config)
    encoder = load_encoder(config)
    embedded = embed_table(config, encoder)
    fingerprint = fingerprint_of(config, embedded)
    folder = Path(config.output_dir)
    seeds = range(config.seed, config.seed + num_trials)
    sweep_seeds = seeds[: config.evaluation.sweeps.num_trials]
    split = split_table(embedded.table, seed=config.seed, unseen_fraction=config.data.unseen_fraction)
    sweeps = _sweep_values(config, split)
    jobs = [TrialJob(seed) for seed in seeds]
    for name, values in sweeps.items():
        jobs += [TrialJob(seed, (name, value)) for value in values for seed in sweep_seeds]
    kept = {job: read_kept(job.path(folder), fingerprint, TrialRecord) for job in jobs}
    write_config(config, folder / "config.yaml")

    missing = {job: missing_methods(config, embedded, job, kept[job]) for job in jobs}
    tasks = [TrialTask(job, kept[job], names) for job, names in missing.items() if names]
    compute = partial(compute_and_keep, config, embedded, fingerprint)
    computed = run_in_workers(compute, tasks, num_workers=num_workers, description="Trials")
    kept |= {task.job: result for task, result in zip(tasks, computed, strict=True)}
    finished = {job: with_methods_of(config, job, result) for job, result in kept.items() if result is not None}

    report = TrialsReport(
        table=embedded.table.describe(),
        trials=[finished[TrialJob(seed)] for seed in seeds],
        sweeps=_finished_sweeps(sweeps, sweep_seeds, finished),
        reference=config.evaluation.reference,
        convention=config.evaluation.curve,
        embedding=_embedding_cost(encoder, embedded.table, folder),
    )
    _write(report, folder)
    return report


def _finished_sweeps(
    sweeps: Mapping[str, Sequence[int]], seeds: Sequence[int], finished: Mapping[TrialJob, TrialRecord]
) -> list[Sweep]:
    return [
        Sweep(
            name=name,
            label=SWEEP_LABELS[name],
            points=[SweepPoint(value, [finished[TrialJob(seed, (name, value))] for seed in seeds]) for value in values],
        )
        for name, values in sweeps.items()
    ]


def _embedding_cost(encoder: PromptEncoder, table: RoutingTable, folder: Path) -> EmbeddingCost:
    """What it takes to embed some prompts of the table afresh: kept once measured, as what the other stages took is."""
    path, fingerprint = folder / "embedding.json", digest_of([encoder.fingerprint(), table.content_hash])
    if path.exists() and (kept := record_of(EmbeddingCost, read_json(path), path)).fingerprint == fingerprint:
        return kept
    texts = table.prompt_texts
    some = texts[:: math.ceil(len(texts) / NUM_EMBEDDED)]
    encoder.embed(some[:1])  # what only the first call takes
    embed = partial(measure, partial(encoder.embed, some))
    # on one thread like every other stage
    [(_, cost)] = run_in_workers(lambda _: embed(), [None], num_workers=1, description="Embedding, timed")
    measured = EmbeddingCost(fingerprint=fingerprint, num_prompts=len(some), **asdict(cost))
    write_json(path, measured.to_json())
    return measured


def _write(report: TrialsReport, folder: Path) -> None:
    write_json(folder / "results.json", report.results)
    write_atomically(folder / "results.md", report.to_markdown().encode("utf-8"))
    write_atomically(folder / "curves.png", draw_mean_curves(report))
    for sweep in report.sweeps:
        write_atomically(folder / f"sweep_{sweep.name}.png", draw_sweep(sweep))
    write_atomically(folder / "report.html", render_html(report).encode("utf-8"))


def _sweep_values(config: TrainConfig, split: Split) -> dict[str, list[int]]:
    """The values of each sweep that the table is large enough for."""
    sweeps = config.evaluation.sweeps
    most = {
        "num_calibration": 0 if split.is_of_seen_llms else len(split.validation_prompts),
        "num_clusters": len(split.train_prompts),
        "num_seen_llms": len(split.seen_llms),
    }
    values = {name: [value for value in getattr(sweeps, name) if value <= limit] for name, limit in most.items()}
    return {name: found for name, found in values.items() if found}
