import dataclasses

import pytest
import torch

from unirouter_torch.config.training import DataConfig, TrainConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import Split, split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.errors import DataError
from unirouter_torch.methods.trial import Trial, build_trial


@pytest.fixture(scope="module")
def table() -> RoutingTable:
    return load_table("simulated:120x8")


@pytest.fixture(scope="module")
def split(table: RoutingTable) -> Split:
    return split_table(table, seed=0, unseen_fraction=0.4)


def cut(table: RoutingTable, split: Split, num_calibration: int = 6) -> Trial:
    # the embedding of a prompt is its row number, so that every part shows where it comes from
    embedding = torch.arange(table.num_prompts).float()[:, None]
    return build_trial(
        table,
        embedding,
        split,
        TrainConfig(data=DataConfig(num_calibration=num_calibration)),
        seed=0,
    )


def test_each_part_holds_its_own_prompts_and_llms(table: RoutingTable, split: Split) -> None:
    trial = cut(table, split)
    parts = [
        (trial.train, split.train_prompts, split.seen_llms),
        (trial.tuning.validation, split.validation_prompts, split.seen_llms),
        (trial.calibration, trial.calibration_prompts, split.unseen_llms),
        (trial.test, split.test_prompts, split.unseen_llms),
    ]
    for outcomes, prompts, llms in parts:
        assert outcomes.embedding.squeeze(-1).long().tolist() == prompts.tolist()
        assert torch.equal(outcomes.error, table.error[prompts][:, llms])
        assert torch.equal(outcomes.observed, table.observed[prompts][:, llms])
    assert torch.equal(trial.test_cost, table.cost.value[split.unseen_llms])
    assert torch.equal(trial.tuning.cost, table.cost.value[split.seen_llms])


def test_calibration_prompts_are_validation_prompts_as_many_as_asked(table: RoutingTable, split: Split) -> None:
    trial = cut(table, split, num_calibration=6)
    assert trial.tuning.num_calibration == len(trial.calibration_prompts) == 6
    assert set(trial.calibration_prompts.tolist()) <= set(split.validation_prompts.tolist())
    assert cut(table, split, num_calibration=10_000).tuning.num_calibration == len(split.validation_prompts)


def test_tuning_prefers_the_truth_to_its_opposite(table: RoutingTable, split: Split) -> None:
    tuning = cut(table, split).tuning
    truth = tuning.validation.error
    assert tuning.area(truth, tuning.validation) > tuning.area(1 - truth, tuning.validation)


@pytest.mark.parametrize(
    ("prompts", "llms", "message"),
    [
        ("train_prompts", "seen_llms", "seen LLMs have no outcome on the training prompts"),
        ("validation_prompts", "seen_llms", "seen LLMs have no outcome on the validation prompts"),
        ("validation_prompts", "unseen_llms", "unseen LLMs have no outcome on the calibration prompts"),
        ("test_prompts", "unseen_llms", "unseen LLMs have no outcome on the test prompts"),
    ],
)
def test_part_without_any_outcome_is_refused(
    table: RoutingTable, split: Split, prompts: str, llms: str, message: str
) -> None:
    observed = table.observed.clone()
    observed[getattr(split, prompts)[:, None], getattr(split, llms)] = False
    with pytest.raises(DataError, match=message):
        cut(dataclasses.replace(table, observed=observed), split)
