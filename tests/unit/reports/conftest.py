"""A report of made-up trials, in the form in which trials are kept."""

import pytest
import torch

from unirouter_torch.metrics.deferral import DEFAULT_CONVENTION
from unirouter_torch.metrics.figures import figures_of
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.records import LLMRecord, MethodRecord, TrialRecord
from unirouter_torch.metrics.stages import StageCost
from unirouter_torch.reports.trials_report import Sweep, SweepPoint, TrialsReport

METHODS = ("zero", "knn", "mlp", "end_to_end", "oracle")
SOURCES = ["easy", "hard", "medium <b>"]
NUM_LLMS = 5


def made_trial(seed: int) -> TrialRecord:
    """Methods that know the truth more or less; the sources differ in how far the methods are off."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.arange(90) % len(SOURCES)
    truth = torch.rand(len(SOURCES), NUM_LLMS, generator=generator)[source]
    error = (torch.rand(90, NUM_LLMS, generator=generator) < truth).float()
    observed = torch.rand(90, NUM_LLMS, generator=generator) < 0.9
    cost = torch.tensor([0.01, 0.1, 0.2, 0.5, 1.0])
    judged_by = Truth(cost=cost, error=error, observed=observed, source=source, source_names=tuple(SOURCES))
    names = [f"llm-{llm} <i>" for llm in range(NUM_LLMS)]
    methods, stages, diagnostics = {}, {}, {}
    for number, name in enumerate(METHODS):
        noise = torch.rand(90, NUM_LLMS, generator=generator)
        wrong = torch.where(source == 1, 0.8, 0.2)[:, None] * (1 - number / len(METHODS))
        estimated = error if name == "oracle" else (1 - wrong) * truth + wrong * noise
        judged = Judged(estimated, judged_by)
        methods[name] = MethodRecord(figures=figures_of(judged))
        diagnostics[name] = judged.diagnose().record()
        stages[name] = {
            stage: StageCost(wall_seconds=0.01 * (number + 1) * (seed + 1), cpu_seconds=0.02, peak_bytes=2**20)
            for stage in ("fit", "onboard", "score")
        }
    return TrialRecord(
        fingerprint="made",
        seed=seed,
        split={"num_test_prompts": 90, "num_unseen_llms": NUM_LLMS, "num_calibration": 20},
        llms=[LLMRecord(name=name, cost=price, quality=0.5) for name, price in zip(names, cost.tolist(), strict=True)],
        methods=methods,
        stages=stages,
        diagnostics=diagnostics,
    )


@pytest.fixture
def made_report() -> TrialsReport:
    trials = [made_trial(seed) for seed in range(4)]
    return TrialsReport(
        table={
            "name": "made <script>",
            "num_prompts": 300,
            "num_llms": 9,
            "observed_fraction": 0.9,
            "content_hash": "0123456789abcdef0123",
            "cost_unit": "dollars",
            "cost_rule": "billed",
            "is_estimate": False,
        },
        trials=trials,
        sweeps=[
            Sweep("num_calibration", "Calibration prompts", [SweepPoint(10, trials[:2]), SweepPoint(20, trials[2:])])
        ],
        reference="end_to_end",
        convention=DEFAULT_CONVENTION,
    )
