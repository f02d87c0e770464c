import json
import math
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_router import small_router

from unirouter_torch.cli import main
from unirouter_torch.errors import ConfigError, DataError
from unirouter_torch.experiments.router_arena import arena_score, score_submission, write_submission
from unirouter_torch.router.router import Router
from unirouter_torch.storage import sha256_of

PROMPTS = {f"Sums_{number}": f"What is {number} and the red {number}?" for number in range(12)}
SUB_10 = ("Sums_3", "Sums_7")


@pytest.fixture
def router(tmp_path: Path) -> Router:
    router = small_router(tmp_path)
    router.pool = router.pool.with_changes("other", is_available=False)
    return router


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of RouterArena as its script prepares it, in small."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    clone = tmp_path / "clone"
    noisy = {index: text.replace("red", "rde") for index, text in list(PROMPTS.items())[:4]}
    splits = {
        "router_data": PROMPTS,
        "router_data_10": {index: PROMPTS[index] for index in SUB_10},
        "router_robustness": noisy,
    }
    for name, prompts in splits.items():
        rows = [{"prompt_formatted": text, "global index": index} for index, text in prompts.items()]
        write(clone / "dataset" / f"{name}.json", rows)
    write(clone / "model_cost" / "model_cost.json", {"small": {}, "large": {}})
    return clone


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_submission_has_the_choices_of_the_router_in_the_format_of_the_arena(router: Router, clone: Path) -> None:
    files = write_submission(router, clone, "ours-1", cost_weight=0.05)
    assert files.config == clone / "router_inference" / "config" / "ours-1.json"
    assert read(files.config) == {"pipeline_params": {"router_name": "ours-1", "models": ["small", "large"]}}
    entries = read(files.predictions)
    regular = [entry for entry in entries if not entry["for_optimality"]]
    assert {entry["global index"]: entry["prompt"] for entry in regular} == PROMPTS
    assert [entry["prediction"] for entry in regular] == router.choose(list(PROMPTS.values()), 0.05)
    assert all(entry[key] is None for entry in entries for key in ("generated_result", "cost", "accuracy"))
    others = [(entry["global index"], entry["prediction"]) for entry in entries if entry["for_optimality"]]
    chosen = {entry["global index"]: entry["prediction"] for entry in regular}
    assert others == [(index, "large" if chosen[index] == "small" else "small") for index in SUB_10]
    assert files.robustness.name == "ours-1-robustness.json"
    noisy = read(files.robustness)
    assert [entry["prediction"] for entry in noisy] == router.choose([entry["prompt"] for entry in noisy], 0.05)


def test_router_is_left_as_it_was(
    router: Router, clone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    router.save_pretrained(tmp_path / "router")
    before = sha256_of(tmp_path / "router")
    place = ["--clone", str(clone), "--name", "ours"]
    assert main(["arena", "predict", "--router", str(tmp_path / "router"), "--split", "sub_10", *place]) == 0
    assert sha256_of(tmp_path / "router") == before
    assert "ours-robustness.json" in capsys.readouterr().out
    assert main(["arena", "score", *place]) == 2
    assert "no entry has a grade and a cost" in capsys.readouterr().err


def graded(clone: Path, entries: list[dict[str, Any]]) -> None:
    write(clone / "router_inference" / "predictions" / "ours.json", entries)


def test_score_is_that_of_the_graded_entries_by_the_formula(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy, cost = [1.0, 0.0, 0.5, 1.0], [0.001, 0.0002, 0.0, 0.004]
    entries = [
        {"global index": f"Sums_{number}", "prediction": "small", "accuracy": right, "cost": dollars}
        for number, (right, dollars) in enumerate(zip(accuracy, cost, strict=True))
    ]
    entries.append(
        {"global index": "Sums_3", "prediction": "large", "accuracy": 0.0, "cost": 9.0, "for_optimality": True}
    )
    entries.append({"global index": "Sums_4", "prediction": "small", "accuracy": None, "cost": None})
    graded(clone, entries)
    found = score_submission(clone, "ours")
    assert (found.accuracy, found.num_prompts, found.num_graded, found.robustness) == (0.625, 5, 4, None)
    assert found.cost_per_thousand == pytest.approx(1000 * 0.0052 / 5)
    share = (math.log2(200) - math.log2(1.04)) / (math.log2(200) - math.log2(0.0044))
    assert found.score == pytest.approx(1.1 * 0.625 * share / (0.1 * 0.625 + share))
    noisy = [
        {"global index": f"Sums_{number}", "prediction": llm} for number, llm in ((0, "small"), (1, "large"), (99, "x"))
    ]
    write(clone / "router_inference" / "predictions" / "ours-robustness.json", noisy)
    assert score_submission(clone, "ours").robustness == 0.5
    assert main(["arena", "score", "--clone", str(clone), "--name", "ours"]) == 0
    assert "accuracy    0.6250 of 4 graded of 5 prompts" in capsys.readouterr().out


def test_answers_that_the_clone_keeps_grade_predictions_without_calls(clone: Path) -> None:
    graded(clone, [{"global index": index, "prediction": "lab/large"} for index in ("Sums_0", "Sums_1", "Sums_2")])
    kept = [
        {"global_index": "Sums_0", "evaluation_result": {"score": 1.0, "inference_cost": 0.002}},
        {"global_index": "Sums_1", "evaluation_result": {"score": 0.0, "inference_cost": 0.001}},
        {"global_index": "Sums_2", "evaluation_result": None},
    ]
    file = clone / "cached_results" / "lab_large.jsonl"
    file.parent.mkdir()
    file.write_text("".join(json.dumps(row) + "\n" for row in kept))
    found = score_submission(clone, "ours")
    assert (found.accuracy, found.num_graded, found.cost_per_thousand) == (0.5, 2, pytest.approx(1.0))


@given(st.floats(0.01, 1), st.floats(0.001, 300), st.floats(1.01, 3))
def test_score_rises_with_accuracy_and_falls_with_cost_within_the_bounds(
    accuracy: float, cost: float, factor: float
) -> None:
    found = arena_score(accuracy, cost)
    assert 0 <= found <= 1
    assert arena_score(accuracy / factor, cost) <= found
    assert arena_score(accuracy, cost * factor) <= found
    assert arena_score(accuracy, 0.001) == arena_score(accuracy, 0.0044)
    assert arena_score(accuracy, 0.0044) == pytest.approx(1.1 * accuracy / (0.1 * accuracy + 1))


def test_what_cannot_be_submitted_is_refused_with_the_next_step(router: Router, clone: Path) -> None:
    with pytest.raises(ConfigError, match=r"^name: got 'two words'"):
        write_submission(router, clone, "two words")
    graded(clone, [])
    with pytest.raises(ConfigError, match=r"ours.json: exists already. Choose another name"):
        write_submission(router, clone, "ours")
    with pytest.raises(DataError, match=r"other.json: no such file"):
        score_submission(clone, "other")
    (clone / "dataset" / "router_data.json").unlink()
    with pytest.raises(DataError, match=r"router_data.json: no such file; expected a clone .*prep_datasets.py"):
        write_submission(router, clone, "new")
    write(clone / "dataset" / "router_data.json", [{"global index": "a", "prompt_formatted": "x"}] * 2)
    with pytest.raises(DataError, match="'a' occurs twice"):
        write_submission(router, clone, "new")
    write(clone / "dataset" / "router_data.json", [{"global index": "a"}])
    with pytest.raises(DataError, match="entry 0 lacks 'global index' or 'prompt_formatted'"):
        write_submission(router, clone, "new")


def test_llm_without_a_price_in_the_arena_is_named(router: Router, clone: Path) -> None:
    write(clone / "model_cost" / "model_cost.json", {"small": {}})
    (clone / "dataset" / "router_robustness.json").unlink()
    with pytest.warns(UserWarning) as warned:
        files = write_submission(router, clone, "ours", split="sub_10")
    texts = [str(one.message) for one in warned]
    assert any("has no price of large" in text for text in texts)
    assert any("no robustness file" in text for text in texts)
    assert not files.robustness.exists()
