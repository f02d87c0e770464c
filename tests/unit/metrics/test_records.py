"""Kept trials: their form in JSON, and what a damaged one is answered."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from unirouter_torch.errors import DataError
from unirouter_torch.metrics.records import StressTrial, TrialRecord, record_of

KEPT: dict[str, Any] = {
    "fingerprint": "f",
    "seed": 3,
    "split": {"num_test_prompts": 9, "num_calibration": 4},
    "llms": [{"name": "a", "cost": 1.0, "quality": None}],
    "methods": {
        "zero": {"area": 0.5, "quality_neutral_cost": None, "chosen": {}, "settings": ""},
        "knn": {
            "area": 0.25,
            "quality_neutral_cost": 0.75,
            "chosen": {"num_neighbors": 5, "pull": 0.5},
            "settings": "s",
        },
    },
    "stages": {"knn": {"fit": {"wall_seconds": 1.5, "cpu_seconds": 1.0, "peak_bytes": None}}},
    "diagnostics": {
        "knn": {
            "curve": {"relative_cost": [0.0, 1.0], "quality": [0.5, 0.75], "cost_weight": [None, 0.0]},
            "reliability": {"count": [0, 2], "estimated": [None, 0.25], "observed": [None, 0.5]},
            "expected_calibration_error": 0.25,
            "sources": {"birds": {"num_prompts": 9, "area": 0.5, "best_area": 0.75, "regret": 0.25}},
            "worst_source_regret": 0.25,
            "shares": {"relative_cost": [1.0], "cost_weight": [0.0], "share": [[1.0]]},
        }
    },
}
"""A trial as the commits before these records wrote it."""

PATH = Path("seed_3.json")


def test_a_trial_kept_earlier_is_read_and_written_in_the_same_form() -> None:
    record = record_of(TrialRecord, copy.deepcopy(KEPT), PATH)
    assert json.dumps(record.to_json()) == json.dumps(KEPT)
    assert record.methods["knn"].figures == {"area": 0.25, "quality_neutral_cost": 0.75}
    assert record.methods["knn"].chosen == {"num_neighbors": 5, "pull": 0.5}
    assert record.stages["knn"]["fit"].wall_seconds == 1.5
    assert record.diagnostics["knn"].sources["birds"].regret == 0.25


def test_methods_are_picked_in_the_order_asked_for() -> None:
    record = record_of(TrialRecord, copy.deepcopy(KEPT), PATH)
    assert list(record.with_methods(["knn", "oracle", "zero"]).methods) == ["knn", "zero"]
    assert list(record.with_methods(["zero"]).diagnostics) == []


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        (lambda kept: kept.pop("seed"), "seed"),
        (lambda kept: kept["methods"]["knn"].update(area="good"), "methods.knn.figures.area"),
        (lambda kept: kept["stages"]["knn"]["fit"].pop("cpu_seconds"), "stages.knn.fit.cpu_seconds"),
    ],
)
def test_a_damaged_trial_is_named_with_the_place(damage, where: str) -> None:
    kept = copy.deepcopy(KEPT)
    damage(kept)
    with pytest.raises(DataError, match=rf"^seed_3.json: {where}: .*Delete this file"):
        record_of(TrialRecord, kept, PATH)


def test_a_stress_trial_keeps_what_was_disturbed() -> None:
    kept = {"fingerprint": "f", "seed": 1, "levels": {"0%": {"zero": {"area": 0.5}}}, "about": {"sources": ["a"]}}
    record = record_of(StressTrial, copy.deepcopy(kept), PATH)
    assert json.dumps(record.to_json()) == json.dumps(kept)
