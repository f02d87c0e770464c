"""Which prompts encoder and head are trained on, and where they stand among the texts."""

import torch
from made_outcomes import outcomes

from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.training.joint_tables import JointPart, tables_alone


def table(name: str, num_train: int, num_validation: int) -> OtherTable:
    return OtherTable(
        name=name,
        content_hash=name,
        train=outcomes(0, num_train),
        validation=outcomes(1, num_validation),
        cost=torch.ones(5),
        train_texts=[f"{name} train {row}" for row in range(num_train)],
        validation_texts=[f"{name} validation {row}" for row in range(num_validation)],
    )


def test_rows_lead_to_the_texts_of_each_table() -> None:
    others = [table("first", 6, 2), table("second", 4, 3)]
    joint = tables_alone(others, num_calibration=3, seed=0)

    def texts(part: JointPart) -> list[str]:
        return [joint.texts[row] for row in part.rows.tolist()]

    assert [texts(part) for part in joint.train] == [other.train_texts for other in others]
    assert [texts(part) for part in joint.validation] == [other.validation_texts for other in others]
    assert len(joint.texts) == len(set(joint.texts)) == 15
    for part, other in zip(joint.train, others, strict=True):
        assert torch.equal(part.outcomes.error, other.train.error)
