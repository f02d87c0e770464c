"""One run from a config to a saved, evaluated router, in the order in which a reader would explain it."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unirouter_torch.config.files import write_config
from unirouter_torch.config.training import METHODS_OF_A_RUN, TrainConfig
from unirouter_torch.data.splits import Split, split_table, warn_of_pool_of_one
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table, load_encoder
from unirouter_torch.methods.chosen_prompts import (
    CalibrationChoice,
    choose_calibration,
    estimate_by_choice,
    report_chosen,
)
from unirouter_torch.methods.clairvoyant_end_to_end import ClairvoyantEndToEnd
from unirouter_torch.methods.end_to_end import EndToEnd, tables_of_trial
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.registry import build_method
from unirouter_torch.methods.travelling import Travelling
from unirouter_torch.methods.trial import Trial, apply_method, build_trial, evaluate_method
from unirouter_torch.metrics.deferral import single_llm_quality
from unirouter_torch.metrics.judged import Judged
from unirouter_torch.metrics.scores import MethodScores, score
from unirouter_torch.reports.report import EvaluationReport
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.router import Router
from unirouter_torch.routing.label_noise import fit_difficulty
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.prompt_selection import sum_adjusted
from unirouter_torch.training.checkpoint import remove_checkpoints
from unirouter_torch.training.clustering import centroids_of
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.joint import train_jointly
from unirouter_torch.training.launch import on_all_devices


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run leaves: the report and the router; both lie in the run folder too."""

    report: EvaluationReport
    router: Router


@dataclass(frozen=True, kw_only=True)
class TunedTable:
    """An encoder that was trained on a trial, and the table and the trial with its embeddings."""

    encoder: PromptEncoder
    embedded: EmbeddedTable
    trial: Trial


def run(config: TrainConfig) -> RunResult | None:
    """Train a router end to end, evaluate it beside the other methods on unseen LLMs, and save everything.

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
    if workers.is_first:
        write_config(config, folder / "config.yaml")
    with workers.first_then_others():
        encoder = load_encoder(config)
        embedded = embed_table(config, encoder)
    split = split_table(embedded.table, seed=config.seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(config, embedded, split, config.seed)
    if workers.is_first:
        warn_of_pool_of_one(embedded.table, split)

    end_to_end = EndToEnd(config, folder / "logs", embedded.others)
    methods = [build_method(name, end_to_end, trial) for name in config.evaluation.methods or METHODS_OF_A_RUN]
    encoder_logs = folder / "logs" / "encoder"
    if not workers.is_first:  # the same trainings in the same order, without the evaluation between them
        for method in methods:
            if isinstance(method, (EndToEnd, Travelling, ClairvoyantEndToEnd)):
                method.fit(trial.train, trial.tuning)
        if config.encoder_training.mode != "frozen":
            joint = tables_of_trial(embedded.table.prompt_texts, split, trial, embedded.others)
            train_jointly(config, encoder, end_to_end.head, joint, log_folder=encoder_logs)
        return None
    report = build_report(config, embedded.table, split, trial, methods)
    if config.encoder_training.mode != "frozen":
        tuned = tune_encoder(config, encoder, embedded, split, trial, end_to_end, log_folder=encoder_logs)
        encoder, embedded = tuned.encoder, tuned.embedded
        report = report_tuned(report, end_to_end, tuned.trial)
    choice = CalibrationChoice(trial.calibration_prompts, None)
    if config.data.calibration == "selected":
        where = (end_to_end.head, embedded.embedding, embedded.table, split)
        choice = choose_calibration(*where, config.data.num_calibration)
        report = report_chosen(report, estimate_by_choice(*where, choice), trial)
    report.write(folder)

    router = build_router(encoder, embedded, end_to_end, choice, report)
    router.save_pretrained(folder / "router")
    remove_checkpoints(folder / "logs")
    return RunResult(report=report, router=router)


def prepare_trial(config: TrainConfig, embedded: EmbeddedTable, split: Split, seed: int) -> Trial:
    """The outcomes of one split under the conventions of the config."""
    return build_trial(
        embedded.table,
        embedded.embedding,
        split,
        num_calibration=config.data.num_calibration,
        convention=config.evaluation.curve,
        seed=seed,
        form_dim=embedded.form_dim,
        centroids_of=centroids_of,
    )


def build_report(
    config: TrainConfig, table: RoutingTable, split: Split, trial: Trial, methods: Sequence[RoutingMethod[Any]]
) -> EvaluationReport:
    """Fit and judge every method on one trial."""
    convention = config.evaluation.curve
    unseen = split.unseen_llms.tolist()
    return EvaluationReport(
        table=table.describe(),
        split=split.describe() | {"seed": config.seed, "num_calibration": len(trial.calibration_prompts)},
        methods={method.name: evaluate_method(method, trial) for method in methods},
        llm_names=[table.llm_names[column] for column in unseen],
        llm_cost=trial.test_cost,
        llm_quality=single_llm_quality(trial.test.error, trial.test.observed),
        convention=convention,
    )


def tune_encoder(
    config: TrainConfig,
    encoder: PromptEncoder,
    embedded: EmbeddedTable,
    split: Split,
    trial: Trial,
    end_to_end: EndToEnd,
    *,
    log_folder: Path | None,
) -> TunedTable:
    """Train the encoder with the fitted head, which is replaced by the one that goes with the trained encoder."""
    table = embedded.table
    tables = tables_of_trial(table.prompt_texts, split, trial, embedded.others)
    tuned = train_jointly(config, encoder, end_to_end.head, tables, log_folder=log_folder)
    end_to_end.head, end_to_end.encoder_step = tuned.head, tuned.step
    embedding = tuned.encoder.embed(table.prompt_texts, show_progress=log_folder is not None)
    embedded = EmbeddedTable(table=table, embedding=embedding, form_dim=encoder.form_dim)
    tuned_trial = prepare_trial(config, embedded, split, trial.tuning.seed)
    return TunedTable(encoder=tuned.encoder.cpu(), embedded=embedded, trial=tuned_trial)


def report_tuned(report: EvaluationReport, end_to_end: EndToEnd, trial: Trial) -> EvaluationReport:
    """The report with the tuned router in the place of ``end_to_end``, and the frozen one as ``end_to_end_frozen``."""
    scores = score(Judged(apply_method(end_to_end, trial), trial.truth))
    methods: dict[str, MethodScores] = {}
    for name, found in report.methods.items():
        methods |= {"end_to_end_frozen": found, "end_to_end": scores} if name == "end_to_end" else {name: found}
    return replace(report, methods=methods)


def build_router(
    encoder: PromptEncoder,
    embedded: EmbeddedTable,
    end_to_end: EndToEnd,
    choice: CalibrationChoice,
    report: EvaluationReport,
) -> Router:
    """The trained head with its encoder and a pool of all LLMs of the table, seen and unseen alike.

    Every LLM is represented by its outcomes on the calibration prompts, as one that joins later will be; one that has
    none there is left out with a warning.
    """
    table, head = embedded.table, end_to_end.head
    probability = head(embedded.embedding[choice.prompts]).detach()
    rows = choice.prompts.tolist()
    error, observed = table.error[choice.prompts], table.observed[choice.prompts]
    pool = LLMPool(
        names=tuple(table.llm_names),
        cost=table.cost.value,
        sums=sum_adjusted(probability, error, observed, choice.adjustment),
        cost_unit=table.cost.unit,
        cost_is_estimate=table.cost.is_estimate,
        reference_cost=table.cost.value.max().item(),
    )
    return Router(
        encoder=encoder,
        head=head,
        pool=_with_outcomes_only(pool, observed.any(0).tolist()),
        calibration=CalibrationPrompts(
            prompt_ids=tuple(table.prompt_ids[row] for row in rows),
            texts=tuple(table.prompt_texts[row] for row in rows),
            cluster_probability=probability,
            adjustment=choice.adjustment,
            difficulty=fit_difficulty(error, observed),
        ),
        about={"table": report.table, "split": report.split, "unseen_llms": report.to_json()["methods"]["end_to_end"]},
    ).eval()


def _with_outcomes_only(pool: LLMPool, has_outcome: Sequence[bool]) -> LLMPool:
    unknown = [name for name, known in zip(pool.names, has_outcome, strict=True) if not known]
    if not unknown:
        return pool
    warnings.warn(
        f"{len(unknown)} LLMs have no outcome on the calibration prompts and are left out of the saved pool: "
        f"{', '.join(unknown[:5])}. Add outcomes, or raise data.num_calibration.",
        stacklevel=2,
    )
    return pool.select([name for name in pool.names if name not in unknown])
