"""A run whose calibration prompts are chosen, and what its router does with them."""

import json
from pathlib import Path

import pytest
import torch
from miniature import miniature

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.config.files import parse_config
from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import split_table
from unirouter_torch.experiments.run import RunResult, run
from unirouter_torch.routing.cluster_error import overall_error, sum_by_cluster

CHOSEN = ("--data.calibration", "selected", "--data.num_calibration", "20")


@pytest.fixture(scope="module")
def chosen(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    folder = str(tmp_path_factory.mktemp("chosen"))
    result = run(parse_config(miniature(workshop, "--output_dir", folder, *CHOSEN)))
    assert result is not None
    return result


def test_router_is_reported_with_chosen_and_with_drawn_prompts(
    chosen: RunResult, workshop: Path, tmp_path: Path
) -> None:
    drawn = run(parse_config(miniature(workshop, "--output_dir", str(tmp_path), "--data.num_calibration", "20")))
    assert drawn is not None
    found, expected = (result.report.to_json()["methods"] for result in (chosen, drawn))
    assert found.pop("end_to_end") != expected["end_to_end"]
    assert found.pop("end_to_end_random") == expected.pop("end_to_end")
    assert found == expected


def test_prompts_are_chosen_without_test_prompts_and_unseen_llms(chosen: RunResult) -> None:
    table = load_table("simulated:240x12", group_column="base_llm")
    split = split_table(table, seed=0, unseen_fraction=chosen.report.split["num_unseen_llms"] / 12)
    rows = [table.prompt_ids.index(prompt_id) for prompt_id in chosen.router.calibration.prompt_ids]
    assert len(set(rows)) == 20 and not set(rows) & set(split.test_prompts.tolist())
    assert set(rows) & set(split.train_prompts.tolist())


def test_llm_that_joins_gets_the_sums_of_the_run(chosen: RunResult, tmp_path: Path) -> None:
    chosen.router.save_pretrained(tmp_path / "router")
    router = Router.from_pretrained(tmp_path / "router")
    table = load_table("simulated:240x12", group_column="base_llm")
    rows = [table.prompt_ids.index(prompt_id) for prompt_id in router.calibration.prompt_ids]
    column = table.llm_names.index(chosen.report.llm_names[0])
    observed = table.observed[rows, column].tolist()
    scores = {
        prompt_id: 1 - table.error[row, column].item()
        for prompt_id, row, known in zip(router.calibration.prompt_ids, rows, observed, strict=True)
        if known
    }
    router.add_llm("again", scores, 1.0)
    first = router.pool.find(chosen.report.llm_names[0])
    for sums in router.pool.sums:
        torch.testing.assert_close(sums[first], sums[-1])
    raw = sum_by_cluster(router.calibration.cluster_probability, table.error[rows], table.observed[rows])
    assert not torch.allclose(raw.error, router.pool.sums.error[: len(raw.error)])


def test_typical_error_is_what_the_sums_say(chosen: RunResult) -> None:
    calibration, pool = chosen.router.calibration, chosen.router.pool
    table = load_table("simulated:240x12", group_column="base_llm")
    rows = [table.prompt_ids.index(prompt_id) for prompt_id in calibration.prompt_ids]
    llm = next(name for name in pool.names if table.observed[rows, table.llm_names.index(name)].all())
    raw = table.error[rows, table.llm_names.index(llm)].mean().item()
    expected = overall_error(pool.sums)[pool.find(llm)].item()
    assert calibration.typical_error(calibration.prompt_ids, raw) == pytest.approx(expected, abs=0.05)


def test_trials_compute_only_what_the_choice_changes(workshop: Path, tmp_path: Path) -> None:
    methods = ("--evaluation.methods", "[kmeans, end_to_end]", "--output_dir", str(tmp_path))
    arguments = ["evaluate", "--trials", "1", "--workers", "1", *miniature(workshop, *methods)]
    figures = []
    for choice in ("random", "selected"):
        assert main([*arguments, "--data.num_calibration", "20", "--data.calibration", choice]) == 0
        figures.append(json.loads((tmp_path / "trials" / "seed_0.json").read_text())["methods"])
    assert figures[0]["kmeans"] == figures[1]["kmeans"]
    assert figures[0]["end_to_end"] != figures[1]["end_to_end"]


def test_trial_has_the_figures_of_the_run(chosen: RunResult, workshop: Path, tmp_path: Path) -> None:
    arguments = miniature(workshop, "--evaluation.methods", "[end_to_end]", "--output_dir", str(tmp_path), *CHOSEN)
    # learning curves of held-out LLMs need logs, which trials do not write
    assert main(["evaluate", "--trials", "1", "--workers", "1", *arguments]) == 0
    found = json.loads((tmp_path / "trials" / "seed_0.json").read_text())["methods"]["end_to_end"]
    assert found["area"] == pytest.approx(chosen.report.to_json()["methods"]["end_to_end"]["area"])
