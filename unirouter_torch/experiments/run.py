"""One run from a config to a saved, evaluated router, in the order in which a reader would explain it."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from unirouter_torch.config.files import write_config
from unirouter_torch.config.training import DataConfig, TrainConfig
from unirouter_torch.data.splits import Split, draw_calibration, require_outcomes, split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import DataError
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table, load_encoder
from unirouter_torch.methods.end_to_end import DrawnEndToEnd, EndToEnd, FrozenEndToEnd
from unirouter_torch.methods.method_run import score_on_trial
from unirouter_torch.methods.registry import Method, methods_to_compare
from unirouter_torch.methods.trial import Trial, build_trial
from unirouter_torch.metrics.deferral import single_llm_quality
from unirouter_torch.reports.headline import cost_of_run
from unirouter_torch.reports.report import EvaluationReport
from unirouter_torch.router.calibration import CalibrationPrompts, pool_of_outcomes
from unirouter_torch.router.router import Router
from unirouter_torch.routing.target import Target
from unirouter_torch.shapes import PromptSubset
from unirouter_torch.training.checkpoint import remove_checkpoints
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.launch import on_all_devices

METHODS_OF_A_RUN = ("zero", "knn", "kmeans", "end_to_end", "oracle")
"""What ``train.py`` compares the router with where ``evaluation.methods`` does not say."""


FEWEST_UNSEEN_LLMS = 3
"""LLMs that a run on seen LLMs keeps from a second training to judge those that join later; it leaves that out with
fewer, as of a pool of 7 LLMs or less."""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run leaves: the report and the router; both lie in the run folder too."""

    report: EvaluationReport
    router: Router


def run(config: TrainConfig) -> RunResult | None:
    """Train a router end to end, evaluate it beside the other methods on what was kept back, and save everything.

    Several devices train together; their first worker does the rest.

    Args:
        config: The run.

    Returns:
        The report and the router; ``config.output_dir`` holds ``config.yaml``, ``results.json``, ``results.md``,
        ``curves.png``, ``router/`` and ``logs/``. None in a worker of torchrun or SLURM that is not the first.

    Raises:
        UniRouterError: The config, the data, the encoder or the output folder cannot be used, or a worker was killed.
        TerminatedError: The process was asked to end.
    """
    if config.trainer.num_workers == 1:
        return _run(config)
    report = on_all_devices(_run_and_report, config)
    if report is None:
        return None
    return RunResult(report=report, router=Router.from_pretrained(Path(config.output_dir) / "router"))


def _run_and_report(config: TrainConfig) -> EvaluationReport | None:
    result = _run(config)
    return None if result is None else result.report


def _run(config: TrainConfig) -> RunResult | None:
    folder, workers = Path(config.output_dir), DeviceGroup.current()
    methods = _methods_of_run(config)
    if workers.is_first:
        write_config(config, folder / "config.yaml")
    with workers.first_then_others():
        encoder = load_encoder(config)
        embedded = embed_table(config, encoder)
    split = split_table(embedded.table, seed=config.seed, unseen_fraction=config.data.unseen_fraction)
    trials = [prepare_trial(config, embedded, split, config.seed, log_folder=folder / "logs")]
    if (onboarding := _split_for_onboarding(config, embedded, split)) is not None:
        logs = folder / "logs" / "unseen_llms"
        trials.append(prepare_trial(config, embedded, onboarding, config.seed, log_folder=logs))
    if not workers.is_first:  # the same trainings in the same order, without the evaluation between them
        for trial in trials:
            for method in methods.values():
                if method.trains_head:
                    trial.fitted(method)
        return None
    report, *others = (build_report(trial, methods) for trial in trials)
    report = replace(report, unseen=others[0] if others else None)
    router = build_router(encoder, trials[0], report)
    if router.pool.target is not None:
        report = replace(report, cost_weight=router.cost_weight)
    router.about["headline"] = report.headline()
    report.write(folder)
    router.save_pretrained(folder / "router")
    for trial in trials:
        assert trial.log_folder is not None
        remove_checkpoints(trial.log_folder)
    return RunResult(report=report, router=router)


def _split_for_onboarding(config: TrainConfig, embedded: EmbeddedTable, split: Split) -> Split | None:
    """A split that keeps LLMs unseen, to judge LLMs that join later as a second part of a run on seen ones.

    None unless at least 3 are unseen then: between two LLMs every method chooses on one line, and which two were drawn
    decides. None where the encoder is trained, which would take most of the run's time once more.
    """
    table, default = embedded.table, DataConfig().unseen_fraction
    wanted = round(default * table.num_llms)
    if not split.is_of_seen_llms or config.encoder_training.mode != "frozen" or wanted < FEWEST_UNSEEN_LLMS:
        return None
    try:
        found = split_table(table, seed=config.seed, unseen_fraction=default)
        require_outcomes(table, found, num_calibration=config.data.num_calibration, seed=config.seed)
    except DataError:  # LLMs of few groups, or outcomes too sparse for it
        return None
    return found if len(found.unseen_llms) >= FEWEST_UNSEEN_LLMS else None


def _methods_of_run(config: TrainConfig) -> dict[str, Method]:
    """The methods to report: those asked for, and the stages of the router that the config leads through."""
    methods: dict[str, Method] = {}
    for name, method in methods_to_compare(config, METHODS_OF_A_RUN).items():
        if method is EndToEnd and config.encoder_training.mode != "frozen":
            methods[FrozenEndToEnd.name] = FrozenEndToEnd
        if method is EndToEnd and config.data.calibration == "selected":
            methods[DrawnEndToEnd.name] = DrawnEndToEnd
        methods[name] = method
    return methods


def prepare_trial(
    config: TrainConfig,
    embedded: EmbeddedTable,
    split: Split,
    seed: int,
    *,
    num_clusters: int | None = None,
    log_folder: Path | None = None,
) -> Trial:
    """One split of an embedded table; see :func:`~unirouter_torch.methods.trial.build_trial`."""
    return build_trial(
        embedded.table,
        embedded.embedding,
        split,
        config,
        seed=seed,
        others=embedded.others,
        form_dim=embedded.form_dim,
        num_clusters=num_clusters,
        log_folder=log_folder,
    )


def build_report(trial: Trial, methods: Mapping[str, Method]) -> EvaluationReport:
    """Fit and score every method on one trial."""
    table, split = trial.table, trial.split
    evaluated = [table.llm_names[column] for column in split.unseen_llms.tolist()]
    return EvaluationReport(
        table=table.describe(),
        split=split.describe() | {"seed": trial.tuning.seed, "num_calibration": len(trial.calibration_prompts)},
        methods={name: score_on_trial(method, trial) for name, method in methods.items()},
        llm_names=evaluated,
        llm_cost=trial.test_cost,
        llm_quality=single_llm_quality(trial.test.error, trial.test.observed),
        best_llm=evaluated[trial.truth.best_single.column],
        num_test_prompts=int(trial.test.observed.any(1).sum()),
        convention=trial.config.evaluation.curve,
    )


def build_router(encoder: PromptEncoder, trial: Trial, report: EvaluationReport) -> Router:
    """The trained head with its encoder and a pool of all LLMs of the table, seen and unseen alike.

    Where LLMs were kept unseen, every LLM is represented by its outcomes on the calibration prompts, as one that joins
    later will be; one that has none there is left out with a warning. Where all were seen, every outcome of the table
    counts, those of test prompts too once the test is over; ``data.num_calibration`` prompts are kept for LLMs that
    join later, and the router's target is the cost at which the report says what it saves.

    Args:
        encoder: The frozen encoder, for a head that was trained over it.
        trial: What the router was fitted on.
        report: What the router's file tells about itself.
    """
    end_to_end = trial.fitted(EndToEnd)
    view, table, all_seen = end_to_end.view(trial), trial.table, trial.split.is_of_seen_llms
    prompts = torch.arange(table.num_prompts) if all_seen else view.calibration_prompts
    known = _with_outcomes(table, prompts)
    calibration, pool = pool_of_outcomes(
        CalibrationPrompts(
            prompt_ids=tuple(table.prompt_ids[row] for row in prompts.tolist()),
            texts=tuple(table.prompt_texts[row] for row in prompts.tolist()),
            cluster_probability=end_to_end.head(view.embedding[prompts]).detach(),
            adjustment=end_to_end.adjustment,
        ),
        [table.llm_names[column] for column in known],
        table.cost.value[known].tolist(),
        table.error[prompts][:, known],
        table.observed[prompts][:, known],
        cost_unit=table.cost.unit,
        cost_is_estimate=table.cost.is_estimate,
    )
    if all_seen:
        everything = trial.split._replace(validation_prompts=prompts)
        number, seed = trial.config.data.num_calibration, trial.tuning.seed
        calibration = calibration.of_rows(draw_calibration(everything, num_prompts=number, seed=seed))
        pool = replace(pool, target=_target_of(report))
    figures = report.methods[EndToEnd.name].figures
    return Router(
        encoder=end_to_end.encoder or encoder,
        head=end_to_end.head,
        pool=pool,
        calibration=calibration,
        about={
            "headline": report.headline(),
            "table": report.table,
            "split": report.split,
            "seen_llms" if all_seen else "unseen_llms": figures,
        },
    ).eval()


def _target_of(report: EvaluationReport) -> Target | None:
    """The mean cost at which the router has 99% of the best single LLM's quality; None where that saves nothing."""
    share, _, _ = cost_of_run(report.methods[EndToEnd.name])
    if share is None or share >= 1:
        return None
    best = report.llm_names.index(report.best_llm)
    return Target(kind="cost", value=share * float(report.llm_cost[best]))


def _with_outcomes(table: RoutingTable, prompts: PromptSubset) -> list[int]:
    """Columns of the LLMs that have an outcome on the calibration prompts; a warning names the others."""
    has_outcome = table.observed[prompts].any(0).tolist()
    unknown = [name for name, known in zip(table.llm_names, has_outcome, strict=True) if not known]
    if unknown:
        warnings.warn(
            f"{len(unknown)} LLMs have no outcome on the calibration prompts and are left out of the saved pool: "
            f"{', '.join(unknown[:5])}. Add outcomes, or raise data.num_calibration.",
            stacklevel=3,
        )
    return [column for column, known in enumerate(has_outcome) if known]
