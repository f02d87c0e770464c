"""Every method under every stress, trial by trial, in parallel processes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import write_config
from unirouter_torch.config.fingerprint import digest_of
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.fingerprint import fingerprint_of, settings_of
from unirouter_torch.experiments.stress_tests import STRESS_TESTS, Bench
from unirouter_torch.experiments.trial_jobs import read_kept
from unirouter_torch.methods.registry import methods_to_compare
from unirouter_torch.metrics.records import StressTrial
from unirouter_torch.metrics.stress_summary import summarise_stress
from unirouter_torch.reports.stress_report import StressReport
from unirouter_torch.storage import write_json
from unirouter_torch.training.launch import require_one_device
from unirouter_torch.training.workers import run_in_workers


class StressJob(NamedTuple):
    """The stresses that are still to be computed at one seed."""

    seed: int
    names: tuple[str, ...]


def run_stress(
    config: TrainConfig, *, num_trials: int, num_workers: int, only: Sequence[str] | None = None
) -> StressReport:
    """Put every method of the config under stress, on splits with the seeds ``config.seed`` and those that follow.

    Every finished trial of a stress is kept under ``output_dir/stress``; the same command goes on where it was
    interrupted. The numbers depend neither on the order of trials nor on the number of workers.

    Args:
        config: The run; logs and routers are not written.
        num_trials: How many trials, at least 1.
        num_workers: Processes that compute trials, at least 1.
        only: Names of the stresses; all of them when not given.

    Returns:
        The report, which is also written to ``output_dir/stress``.

    Raises:
        UniRouterError: The config, the data or the encoder cannot be used, ``only`` names no stress, or ``output_dir``
            holds trials of another config or table.
    """
    at_least("trials", num_trials, 1)
    at_least("workers", num_workers, 1)
    require_one_device(config, "trials run beside one another, as `workers` says")
    names = _chosen(only)
    if config.encoder_training.mode != "frozen":
        raise ConfigError(
            f"encoder_training.mode: got {config.encoder_training.mode}, expected frozen: unirouter stress disturbs "
            "the embeddings of a frozen encoder."
        )
    methods = methods_to_compare(config)
    embedded = embed_table(config)
    settings = {name: settings_of(config, embedded, method) for name, method in methods.items()}
    fingerprint = digest_of([fingerprint_of(config, embedded), list(settings.items())])
    folder = Path(config.output_dir) / "stress"
    seeds = range(config.seed, config.seed + num_trials)
    places = {(name, seed): folder / name / f"seed_{seed}.json" for name in names for seed in seeds}
    finished = {key: trial for key, path in places.items() if (trial := read_kept(path, fingerprint, StressTrial))}
    write_config(config, folder / "config.yaml")

    jobs = [StressJob(seed, tuple(name for name in names if (name, seed) not in finished)) for seed in seeds]
    jobs = [job for job in jobs if job.names]
    compute = partial(_compute_and_keep, config, embedded, fingerprint, folder)
    for trials in run_in_workers(compute, jobs, num_workers=num_workers, description="Stress trials"):
        finished |= trials

    report = StressReport(
        table=embedded.table.describe(),
        num_calibration=config.data.num_calibration,
        stresses=[
            summarise_stress(name, [finished[name, seed] for seed in seeds], config.evaluation.reference)
            for name in names
        ],
        reference=config.evaluation.reference,
        convention=config.evaluation.curve,
    )
    report.write(folder)
    return report


def _chosen(only: Sequence[str] | None) -> list[str]:
    for name in only or ():
        if name not in STRESS_TESTS:
            raise ConfigError(f"only: got {name!r}, expected one of {', '.join(STRESS_TESTS)}.")
    return [name for name in STRESS_TESTS if not only or name in only]


def _compute_and_keep(
    config: TrainConfig, embedded: EmbeddedTable, fingerprint: str, folder: Path, job: StressJob
) -> dict[tuple[str, int], StressTrial]:
    bench = Bench(config, embedded, job.seed)
    trials = {}
    for name in job.names:
        test = STRESS_TESTS[name](bench)
        trial = StressTrial(fingerprint=fingerprint, seed=job.seed, levels=test.levels, about=test.about)
        write_json(folder / name / f"seed_{job.seed}.json", trial.to_json())
        trials[name, job.seed] = trial
    return trials
