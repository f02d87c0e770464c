"""Training on other tables: what is kept for validation, and what plays no part."""

from collections.abc import Sequence

import torch
from made_outcomes import outcomes, trial_of, tuning

from unirouter_torch.config.training import EpisodeConfig, HeadConfig, TrainConfig, TrainerConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.methods.end_to_end import EndToEnd
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.methods.travelling import Travelling
from unirouter_torch.methods.zero import ZeroRouter
from unirouter_torch.routing.outcomes import Outcomes

CONFIG = TrainConfig(
    trainer=TrainerConfig(max_steps=60, validate_every=20),
    head=HeadConfig(num_clusters=4, sharpness=2.0),
    episodes=EpisodeConfig(num_targets=64),
)


def other_table(seed: int, num_llms: int = 7) -> OtherTable:
    return OtherTable(
        name=f"made_{seed}",
        content_hash=str(seed),
        train=outcomes(seed, 120, num_llms),
        validation=outcomes(seed + 100, 30, num_llms),
        cost=torch.ones(num_llms),
        train_texts=[f"train {row}" for row in range(120)],
        validation_texts=[f"validation {row}" for row in range(30)],
    )


def squared_error(method: RoutingMethod, train: Outcomes, others: Sequence[OtherTable] = ()) -> float:
    method.fit(trial_of(train, tuning(), CONFIG, others=others))
    calibration, test = outcomes(2, 60), outcomes(3, 200)
    estimate = method.estimate_error(test.embedding, method.represent(calibration))
    return float((estimate - test.error).square().mean())


def test_router_trained_on_other_tables_alone_reads_the_prompts_of_this_one() -> None:
    others = [other_table(10), other_table(11, num_llms=4)]
    assert squared_error(Travelling(), outcomes(0), others) < 0.8 * squared_error(ZeroRouter(), outcomes(0))


def test_outcomes_of_this_table_play_no_part_in_the_training() -> None:
    others = [other_table(10)]
    inverted = outcomes(0)._replace(error=1 - outcomes(0).error)
    assert squared_error(Travelling(), outcomes(0), others) == squared_error(Travelling(), inverted, others)


def test_other_tables_move_the_end_to_end_router() -> None:
    alone, beside = EndToEnd(), EndToEnd()
    for method, others in ((alone, []), (beside, [other_table(10)])):
        method.fit(trial_of(outcomes(0), tuning(), CONFIG, others=others))
    assert not torch.equal(alone.head.linear.weight, beside.head.linear.weight)
    assert squared_error(EndToEnd(), outcomes(0), [other_table(10)]) < 0.8 * squared_error(ZeroRouter(), outcomes(0))


def test_a_tenth_of_the_prompts_is_kept_for_validation() -> None:
    table = load_table("simulated:120x8")
    rows = torch.arange(20, 120)
    # the embedding of a prompt is its row number, so that every part shows where it comes from
    other = OtherTable.of(table, torch.arange(120).float()[:, None], rows)
    train, validation = (part.embedding.squeeze(-1).long() for part in (other.train, other.validation))
    assert len(validation) == 10
    assert torch.equal(torch.cat([train, validation]).sort().values, rows)
    assert torch.equal(other.train.error, table.error[train])
    assert torch.equal(other.validation.observed, table.observed[validation])
    assert other.train_texts == [table.prompt_texts[row] for row in train.tolist()]
    assert other.validation_texts == [table.prompt_texts[row] for row in validation.tolist()]
