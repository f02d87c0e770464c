"""``unirouter evaluate`` on the miniature: every method, sweeps, workers, interruptions."""

import json
import signal
import subprocess
import sys
from dataclasses import field, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from miniature import miniature

from unirouter_torch.cli import main
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.router import HeadConfig
from unirouter_torch.experiments.trials import NUM_EMBEDDED, run_trials
from unirouter_torch.methods.registry import built_in_methods

FEW_METHODS = ("--evaluation.methods", "[zero, kmeans, end_to_end]")


def evaluate(workshop: Path, folder: Path, *arguments: str, trials: int = 2, workers: int = 1) -> int:
    run = ["evaluate", "--trials", str(trials), "--workers", str(workers)]
    return main([*run, *miniature(workshop, "--output_dir", str(folder), *arguments)])


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


@pytest.fixture(scope="module")
def everything(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("everything")
    assert evaluate(workshop, folder) == 0
    return folder


def test_every_method_is_evaluated_by_default(everything: Path) -> None:
    found = results(everything)
    assert list(found["methods"]) == [
        name for name, kind in built_in_methods().items() if not kind.is_stage and not kind.needs_other_tables
    ]
    assert all(0 < figures["area"] <= 1 for figures in found["methods"].values())
    oracle = found["methods"]["oracle"]["area"]
    assert all(figures["area"] <= oracle + 1e-9 for figures in found["methods"].values())


def test_report_is_one_file_that_needs_no_network(everything: Path) -> None:
    page = (everything / "report.html").read_text()
    assert "End-to-end" in page
    assert "<script src=" not in page
    assert (everything / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "UniRoute K-means" in (everything / "results.md").read_text()


def test_same_numbers_with_several_workers_and_in_another_order(workshop: Path, tmp_path: Path) -> None:
    assert evaluate(workshop, tmp_path / "one", *FEW_METHODS) == 0
    assert evaluate(workshop, tmp_path / "two", *FEW_METHODS, "--seed", "1", trials=1) == 0
    assert evaluate(workshop, tmp_path / "two", *FEW_METHODS, workers=2) == 0
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_sweeps_vary_one_setting_at_a_time(workshop: Path, tmp_path: Path) -> None:
    sweeps = ("num_calibration", "[6, 12, 9999]", "num_clusters", "[2, 4]", "num_seen_llms", "[3, 6]")
    settings = [f"--evaluation.sweeps.{item}" if not item.startswith("[") else item for item in sweeps]
    assert evaluate(workshop, tmp_path, *FEW_METHODS, *settings) == 0
    found = results(tmp_path)["sweeps"]
    assert {name: list(points) for name, points in found.items()} == {
        "num_calibration": ["6", "12"],
        "num_clusters": ["2", "4"],
        "num_seen_llms": ["3", "6"],
    }
    trial = found["num_calibration"]["6"][0]
    assert trial["split"]["num_calibration"] == 6
    assert found["num_seen_llms"]["3"][0]["split"]["num_seen_llms"] == 3
    clusters = found["num_clusters"]["4"][1]["methods"]
    assert {name: figures["chosen"]["num_clusters"] for name, figures in clusters.items()} == {
        "kmeans": 4,
        "end_to_end": 4,
    }
    assert (tmp_path / "sweep_num_calibration.png").exists()


def test_static_pool_tests_the_seen_llms(workshop: Path, tmp_path: Path) -> None:
    assert evaluate(workshop, tmp_path, *FEW_METHODS, "--data.unseen_fraction", "0", trials=1) == 0
    split = results(tmp_path)["trials"][0]["split"]
    assert split["num_seen_llms"] == split["num_unseen_llms"] == 12
    assert "all LLMs seen" in (tmp_path / "results.md").read_text()


def test_finished_trials_are_not_repeated(workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(workshop, tmp_path, *FEW_METHODS, trials=1) == 0
    marked = json.loads((tmp_path / "trials" / "seed_0.json").read_text())
    marked["methods"]["zero"]["area"] = 0.125
    (tmp_path / "trials" / "seed_0.json").write_text(json.dumps(marked))
    assert evaluate(workshop, tmp_path, *FEW_METHODS, "--evaluation.reference", "kmeans") == 0
    found = results(tmp_path)
    assert [trial["seed"] for trial in found["trials"]] == [0, 1]
    assert found["trials"][0]["methods"]["zero"]["area"] == 0.125
    areas = [trial["methods"]["end_to_end"]["area"] for trial in found["trials"]]
    assert found["methods"]["end_to_end"]["area"] == pytest.approx(sum(areas) / 2)
    assert found["comparison"]["reference"] == "kmeans"
    capsys.readouterr()
    assert evaluate(workshop, tmp_path, *FEW_METHODS, "--data.num_calibration", "5") == 2
    assert "another table, config or version" in capsys.readouterr().err


def test_only_what_a_new_setting_changes_is_computed_again(workshop: Path, tmp_path: Path) -> None:
    few = ("--evaluation.methods", "[zero, end_to_end]")
    assert evaluate(workshop, tmp_path, *few, trials=1) == 0
    kept = json.loads((tmp_path / "trials" / "seed_0.json").read_text())
    kept["methods"]["zero"]["area"] = 0.125
    (tmp_path / "trials" / "seed_0.json").write_text(json.dumps(kept))
    assert evaluate(workshop, tmp_path, *FEW_METHODS, "--head.num_clusters", "4", trials=1) == 0
    found = results(tmp_path)["trials"][0]["methods"]
    assert list(found) == ["zero", "kmeans", "end_to_end"]
    assert found["zero"]["area"] == 0.125
    assert found["end_to_end"]["chosen"]["num_clusters"] == 4 != kept["methods"]["end_to_end"]["chosen"]["num_clusters"]
    assert evaluate(workshop, tmp_path, *few, trials=1) == 0
    assert list(results(tmp_path)["methods"]) == ["zero", "end_to_end"]


def test_new_key_with_its_default_keeps_kept_trials(workshop: Path, tmp_path: Path) -> None:
    newer = make_dataclass("Newer", [("brand_new", float, field(default=0.5))], bases=(HeadConfig,), frozen=True)
    config = parse_config(miniature(workshop, "--output_dir", str(tmp_path), *FEW_METHODS))
    run_trials(config, num_trials=1, num_workers=1)
    kept, embedding = tmp_path / "trials" / "seed_0.json", tmp_path / "embedding.json"
    before = kept.stat().st_mtime_ns, embedding.stat().st_mtime_ns
    areas = {name: its["area"] for name, its in results(tmp_path)["methods"].items()}
    run_trials(replace(config, head=newer(**vars(config.head))), num_trials=1, num_workers=1)
    assert (kept.stat().st_mtime_ns, embedding.stat().st_mtime_ns) == before
    assert {name: its["area"] for name, its in results(tmp_path)["methods"].items()} == areas
    settings = json.loads(kept.read_text())["methods"]
    run_trials(replace(config, head=newer(**vars(config.head), brand_new=0.6)), num_trials=1, num_workers=1)
    changed = json.loads(kept.read_text())["methods"]
    assert {name for name in settings if settings[name]["settings"] != changed[name]["settings"]} == {"end_to_end"}


def test_embedding_is_timed_once_for_each_encoder_and_table(workshop: Path, tmp_path: Path) -> None:
    few = ("--evaluation.methods", "[zero, end_to_end]")
    assert evaluate(workshop, tmp_path, *few, trials=1) == 0
    path = tmp_path / "embedding.json"
    kept = json.loads(path.read_text())
    assert 0 < kept["num_prompts"] <= NUM_EMBEDDED and kept["wall_seconds"] > 0
    path.write_text(json.dumps(kept | {"wall_seconds": 1234.5}))
    assert evaluate(workshop, tmp_path, *few) == 0
    assert json.loads(path.read_text())["wall_seconds"] == 1234.5
    path.write_text(json.dumps(kept | {"wall_seconds": 1234.5, "fingerprint": "of another encoder"}))
    assert evaluate(workshop, tmp_path, *few) == 0
    again = json.loads(path.read_text())
    assert again["fingerprint"] == kept["fingerprint"] and again["wall_seconds"] < 1234.5


KILLED_IN_THE_SECOND_TRIAL = """
import os, signal, sys
from unirouter_torch.cli import main
from unirouter_torch.experiments import trial_jobs

run_method, started = trial_jobs.run_method, []

def until_the_fifth(*arguments):
    started.append(arguments)
    if len(started) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return run_method(*arguments)

trial_jobs.run_method = until_the_fifth
main(sys.argv[1:])
"""


def test_killed_run_goes_on_where_it_was(workshop: Path, tmp_path: Path) -> None:
    arguments = [
        "evaluate",
        "--trials",
        "2",
        "--workers",
        "1",
        *miniature(workshop, "--output_dir", str(tmp_path), *FEW_METHODS),
    ]
    command = [sys.executable, "-c", KILLED_IN_THE_SECOND_TRIAL, *arguments]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    (first,) = (tmp_path / "trials").iterdir()
    written = first.stat().st_mtime_ns
    assert first.name == "seed_0.json"
    assert main(arguments) == 0
    assert first.stat().st_mtime_ns == written
    assert [trial["seed"] for trial in results(tmp_path)["trials"]] == [0, 1]
