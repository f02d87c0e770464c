"""The whole way from a config to a saved router."""

import csv
import json
from pathlib import Path

import pytest
import torch
from miniature import ROOT, miniature

from unirouter_torch.cli import main
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import split_table
from unirouter_torch.experiments.run import RunResult, run
from unirouter_torch.metrics.figures import FIGURE_OF
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import sum_by_cluster
from unirouter_torch.routing.target import Target

SHARED = ROOT.parent / "shared" / "data"


def test_run_folder_holds_what_other_peoples_scripts_rely_on(config: TrainConfig, result: RunResult) -> None:
    folder = Path(config.output_dir)
    names = {"config.yaml", "results.json", "results.md", "curves.png", "router", "logs"}
    assert {item.name for item in folder.iterdir()} == names
    assert parse_config(["--config", str(folder / "config.yaml")]) == config
    results = json.loads((folder / "results.json").read_text())
    assert {"table", "split", "methods"} <= results.keys()
    assert list(results["methods"]) == ["zero", "knn", "kmeans", "end_to_end", "oracle"]
    assert all(set(figures) == set(FIGURE_OF) for figures in results["methods"].values())


def test_nothing_beats_the_oracle(result: RunResult) -> None:
    methods = result.report.methods
    assert all(scores.figures["area"] <= methods["oracle"].figures["area"] + 1e-12 for scores in methods.values())
    assert methods["oracle"].figures["mean_squared_error"] == 0


def test_evaluated_pool_is_the_unseen_llms_alone(config: TrainConfig, result: RunResult) -> None:
    table = load_table("simulated:240x12", group_column="base_llm")
    split = split_table(table, seed=0, unseen_fraction=config.data.unseen_fraction)
    assert result.report.llm_names == [table.llm_names[column] for column in split.unseen_llms]
    assert not set(split.seen_llms.tolist()) & set(split.unseen_llms.tolist())


def test_learning_curves_hold_the_loss_and_the_areas(config: TrainConfig, result: RunResult) -> None:
    with (Path(config.output_dir) / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    areas = [float(row["validation/area_training_llms"]) for row in rows if row["validation/area_training_llms"]]
    losses = [float(row["train/loss"]) for row in rows if row["train/loss"]]
    assert len(areas) == 2
    assert len(losses) == 2
    assert all(0 < area < 1 for area in areas)


def test_learning_curves_have_held_out_llms_where_they_are_asked_for(workshop: Path, tmp_path: Path) -> None:
    arguments = (
        "--output_dir",
        str(tmp_path),
        "--data.path",
        "simulated:240x18",
        "--evaluation.methods",
        "[end_to_end]",
        "--episodes.held_out_fraction",
        "0.1",
    )
    run(parse_config(miniature(workshop, *arguments)))
    header = (tmp_path / "logs" / "metrics.csv").read_text().splitlines()[0]
    assert "validation/area_held_out_llms" in header


def test_same_command_gives_the_same_numbers(workshop: Path, tmp_path: Path, result: RunResult) -> None:
    again = run(parse_config(miniature(workshop, "--output_dir", str(tmp_path))))
    for name, scores in result.report.methods.items():
        assert again.report.methods[name].figures == scores.figures
    for one, other in zip(again.router.head.parameters(), result.router.head.parameters(), strict=True):
        assert torch.equal(one, other)


def test_onboarding_an_unseen_llm_by_hand_gives_the_estimates_of_the_evaluation(result: RunResult) -> None:
    table = load_table("simulated:240x12", group_column="base_llm")
    router, name = result.router, result.report.llm_names[0]
    column = table.llm_names.index(name)
    rows = {prompt_id: row for row, prompt_id in enumerate(table.prompt_ids)}
    scores = {
        prompt_id: 1 - table.error[rows[prompt_id], column].item()
        for prompt_id in router.calibration.prompt_ids
        if table.observed[rows[prompt_id], column]
    }
    before = router.pool
    prompts = table.prompt_texts[:20]
    try:
        expected = router.estimate_error(prompts)[:, router.pool.find(name)]
        router.pool = router.pool.without_llm(name)
        router.add_llm(name, scores, table.cost.value[column].item())
        found = router.estimate_error(prompts)[:, router.pool.find(name)]
    finally:
        router.pool = before
    torch.testing.assert_close(found, expected)


def test_train_command_prints_the_table_and_the_places(workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *miniature(workshop)]) == 0
    output = capsys.readouterr().out
    assert "End-to-end" in output
    assert "router" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data.path", "no/such/folder"], "which is no file or folder"),
        (["--encoder.name", "no/such encoder"], "encoder"),
        (["--head.num_clusters", "0"], "head.num_clusters"),
        (["--trainer.accelerator", "gpu"], "A CPU always works: accelerator cpu"),
        (["--trainer.accelerator", "abacus"], "A CPU always works: accelerator cpu"),
        (["--data.group_column", "colour"], "colour"),
    ],
)
def test_users_mistake_gives_one_message_and_code_2(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    if arguments[-1] == "gpu" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert main(["train", *miniature(workshop, "--output_dir", str(tmp_path), *arguments)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_wandb_logs_offline(workshop: Path, tmp_path: Path) -> None:
    arguments = ("--output_dir", str(tmp_path), "--logger", "wandb", "--evaluation.methods", "[end_to_end]")
    run(parse_config(miniature(workshop, *arguments)))
    assert list((tmp_path / "logs" / "wandb").glob("offline-run-*"))
    assert (tmp_path / "logs" / "metrics.csv").exists()


LLMS = {"small": (3, 0.001), "middle": (5, 0.004), "large": (9, 0.02), "new": (6, 0.01)}


def write_log(path: Path, llms: list[str], num_prompts: int = 80) -> None:
    """Two kinds of prompts: every LLM adds right, and only in some numbers names the river right."""
    rows = ["prompt,llm,score,cost"]
    for number in range(num_prompts):
        for llm in llms:
            share, cost = LLMS[llm]
            is_easy = number % 2 == 0
            text = f"What is {number} plus {number * 7}?" if is_easy else f"Which river runs through town {number}?"
            rows.append(f"{text},{llm},{int(is_easy or number // 2 % 10 < share)},{cost}")
    path.write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def own_log(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on one's own log of 4 LLMs."""
    folder = tmp_path_factory.mktemp("own_log")
    write_log(folder / "log.csv", list(LLMS))
    arguments = miniature(
        workshop, "--output_dir", str(folder / "run"), recipe="own_log", table=str(folder / "log.csv")
    )
    assert main(["train", *arguments]) == 0
    return folder / "run"


def test_own_log_is_one_command_away(own_log: Path) -> None:
    results = json.loads((own_log / "results.json").read_text())
    assert results["table"]["cost_rule"] == "billed"
    assert {"zero", "best_single", "learned_map", "item_response", "end_to_end"} <= results["methods"].keys()
    assert [llm["name"] for llm in results["single_llms"]] == sorted(LLMS)
    assert results["split"]["num_calibration"] == 56
    assert "of the quality of large" in results["headline"] and "a constant choice" in results["headline"]
    assert "too small to tell: it has 24 prompts" in results["headline"]
    assert "unseen_llms" not in results
    assert results["headline"] in (own_log / "results.md").read_text()
    assert results["headline"] in (own_log / "router" / "README.md").read_text()


def test_every_outcome_of_seen_llms_counts_in_the_saved_router(own_log: Path) -> None:
    router, table = Router.from_pretrained(own_log / "router"), load_table(str(own_log.parent / "log.csv"))
    assert len(router.calibration.prompt_ids) == 24
    sums = sum_by_cluster(router.cluster(table.prompt_texts), table.error, table.observed)
    torch.testing.assert_close(router.pool.sums, sums)
    assert router.pool.names == tuple(table.llm_names)


def test_saved_router_takes_the_cost_at_which_it_saves(own_log: Path) -> None:
    router, results = Router.from_pretrained(own_log / "router"), json.loads((own_log / "results.json").read_text())
    share = results["methods"]["end_to_end"]["cost_at_99"]
    assert 0 < share < 1
    target = router.pool.target
    assert target == Target(kind="cost", value=target.value) and target.value == pytest.approx(share * 0.02)
    assert router.cost_weight == pytest.approx(results["cost_weight"])
    found = router.chooser().tune(router.calibration, target)
    assert found.is_reached and found.cost <= target.value * (1 + 1e-9)


def test_pool_of_many_seen_llms_is_judged_on_unseen_ones_in_a_second_part(workshop: Path, tmp_path: Path) -> None:
    few = ("--output_dir", str(tmp_path), "--evaluation.methods", "[zero, end_to_end]")
    report = run(parse_config(miniature(workshop, *few, "--data.unseen_fraction", "0"))).report
    assert report.unseen is not None
    assert len(report.llm_names) == 12 and 3 <= len(report.unseen.llm_names) <= 4
    assert report.unseen.split["num_calibration"] == 24 and report.split["num_calibration"] > 24
    assert json.loads((tmp_path / "results.json").read_text())["unseen_llms"]["headline"] == report.unseen.headline()
    assert not list(tmp_path.rglob("*.ckpt"))


def test_too_few_llms_are_refused_before_anything_is_embedded(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(tmp_path / "few.csv", ["small"], num_prompts=20)
    arguments = ("--output_dir", str(tmp_path / "run"), "--data.cache_dir", str(tmp_path / "cache"))
    assert main(["train", *miniature(workshop, *arguments, recipe="own_log", table=str(tmp_path / "few.csv"))]) == 2
    error = capsys.readouterr().err
    assert "got outcomes of 1 LLM, small, expected at least 2" in error
    assert "Embedding" not in error and not (tmp_path / "cache").exists()


@pytest.mark.parametrize("recipe", ["mmlu_pro", "zeroeval"])
def test_recipe_of_real_data_runs_for_a_few_steps(workshop: Path, tmp_path: Path, recipe: str) -> None:
    if not (SHARED / recipe).is_dir():
        pytest.skip(f"the table {recipe} is not at {SHARED}")
    arguments = ("--output_dir", str(tmp_path), "--evaluation.methods", "[zero, end_to_end, oracle]")
    result = run(parse_config(miniature(workshop, *arguments, recipe=f"research/{recipe}", table=str(SHARED / recipe))))
    assert result.report.methods["end_to_end"].figures["area"] > 0.5


def test_router_of_a_run_is_that_of_a_calibration_by_the_same_outcomes(config: TrainConfig, result: RunResult) -> None:
    router, table = Router.from_pretrained(Path(config.output_dir) / "router"), load_table(config.data.path)
    calibration, pool = router.calibration, router.pool
    rows = [table.prompt_ids.index(prompt_id) for prompt_id in calibration.prompt_ids]
    scores = {
        name: {
            table.prompt_ids[row]: 1 - float(table.error[row, column]) for row in rows if table.observed[row, column]
        }
        for column, name in enumerate(table.llm_names)
    }
    router.calibrate(
        dict(zip(calibration.prompt_ids, calibration.texts, strict=True)),
        {name: its for name, its in scores.items() if its},
        dict(zip(table.llm_names, table.cost.value.tolist(), strict=True)),
        cost_unit=table.cost.unit,
        cost_is_estimate=table.cost.is_estimate,
    )
    assert router.pool.names == pool.names and router.pool.cost.tolist() == pool.cost.tolist()
    assert router.pool.reference_cost == pool.reference_cost and router.pool.cost_unit == pool.cost_unit
    torch.testing.assert_close(router.pool.sums, pool.sums)
    torch.testing.assert_close(router.calibration.cluster_probability, calibration.cluster_probability)
    torch.testing.assert_close(router.calibration.difficulty, calibration.difficulty)
