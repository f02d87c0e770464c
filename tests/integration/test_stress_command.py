"""``unirouter stress`` on the miniature: every stress, resuming, workers, mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from miniature import miniature

from unirouter_torch.cli import main
from unirouter_torch.experiments.stress_tests import STRESS_TESTS

METHODS = ("random", "zero", "kmeans", "end_to_end", "source_oracle", "oracle")


def stress(workshop: Path, folder: Path, *arguments: str, trials: int = 2, workers: int = 1) -> int:
    run = ["stress", "--trials", str(trials), "--workers", str(workers)]
    settings = ("--output_dir", str(folder), "--evaluation.methods", f"[{', '.join(METHODS)}]")
    return main([*run, *miniature(workshop, *settings, *arguments, table="simulated:1000x12")])


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "stress" / "stress.json").read_text())["stresses"]
    return content


def means(levels: dict[str, Any], method: str, figure: str) -> list[float]:
    return [methods[method][figure]["mean"] for methods in levels.values()]


@pytest.fixture(scope="module")
def everything(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stress")
    assert stress(workshop, folder) == 0
    return folder


def test_every_stress_has_its_levels_its_picture_and_every_method(everything: Path) -> None:
    found = results(everything)
    assert list(found) == list(STRESS_TESTS)
    levels = {name: list(content["levels"]) for name, content in found.items()}
    assert levels.pop("proposition_2")[:2] == ["5", "10"]
    assert levels == {
        "left_out_source": ["all sources", "other sources"],
        "flipped_labels": ["0%", "5%", "10%", "20%", "40%"],
        "missing_outcomes": ["0%", "10%", "30%", "50%", "70%", "90%"],
        "few_calibration_prompts": ["all", "20", "10"],
        "wrong_sources": ["all sources", "wrong sources"],
        "disturbed_prompts": ["as they are", "typos", "upper case", "padding", "first half"],
        "worst_source": ["undisturbed"],
        "stability": ["redrawn"],
    }
    for name in levels:
        assert all(set(methods) == set(METHODS) for methods in found[name]["levels"].values())
    for name in STRESS_TESTS:
        assert (everything / "stress" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    text = (everything / "stress" / "stress.md").read_text()
    assert "Not possible" not in text and text.count("## ") == len(STRESS_TESTS)


def test_what_does_not_look_at_what_is_disturbed_loses_nothing(everything: Path) -> None:
    found = results(everything)
    for name, content in found.items():
        for level in list(content["levels"])[1:] if name != "proposition_2" else []:
            for method in ("random", "source_oracle", "oracle"):
                assert content["levels"][level][method]["loss"]["mean"] == 0.0
    assert (
        means(found["disturbed_prompts"]["levels"], "zero", "area")[1:]
        == [pytest.approx(means(found["disturbed_prompts"]["levels"], "zero", "area")[0])] * 4
    )
    redrawn = found["stability"]["levels"]["redrawn"]
    assert [redrawn[method]["instability"]["mean"] == 0.0 for method in METHODS] == [
        True,
        False,
        False,
        False,
        True,
        True,
    ]


def test_squared_errors_rise_with_the_stress_and_nothing_beats_the_oracle(everything: Path) -> None:
    found = results(everything)
    flipped, missing = (
        means(found[name]["levels"], "end_to_end", "mean_squared_error")
        for name in ("flipped_labels", "missing_outcomes")
    )
    assert flipped[-1] == max(flipped) > flipped[0]
    assert missing[-1] > missing[0]
    for name in ("left_out_source", "flipped_labels", "wrong_sources", "disturbed_prompts"):
        for methods in found[name]["levels"].values():
            assert all(
                figures["area"]["mean"] <= methods["oracle"]["area"]["mean"] + 1e-9 for figures in methods.values()
            )
    regret = found["worst_source"]["levels"]["undisturbed"]
    assert regret["source_oracle"]["worst_source_regret"]["mean"] == pytest.approx(0.0, abs=1e-9)
    assert regret["random"]["worst_source_regret"]["mean"] > regret["zero"]["worst_source_regret"]["mean"] > 0


def test_undisturbed_levels_are_the_same_trial(everything: Path) -> None:
    found = results(everything)
    first = [next(iter(found[name]["levels"].values())) for name in ("flipped_labels", "missing_outcomes")]
    assert first[0] == first[1] == found["few_calibration_prompts"]["levels"]["all"]


def test_each_trial_says_what_was_disturbed(everything: Path) -> None:
    found = results(everything)
    left_out, wrong = (
        [trial["about"] for trial in found[name]["trials"]] for name in ("left_out_source", "wrong_sources")
    )
    assert left_out[0]["source"] != left_out[1]["source"]
    assert all(about["num_judged"] >= 20 for about in [*left_out, *wrong])
    assert all(0 < about["num_calibration"] <= 24 for about in wrong)


def test_finished_stresses_are_not_repeated_and_workers_change_no_number(
    workshop: Path, everything: Path, tmp_path: Path
) -> None:
    names = ("stability", "flipped_labels")
    assert stress(workshop, tmp_path, "--only", names[0], trials=1) == 0
    kept = tmp_path / "stress" / "stability" / "seed_0.json"
    marked = json.loads(kept.read_text())
    first = marked["levels"]["redrawn"]["zero"]["instability"]
    marked["levels"]["redrawn"]["zero"]["instability"] = 0.25
    kept.write_text(json.dumps(marked))

    assert stress(workshop, tmp_path, "--only", *names, workers=2) == 0
    found, expected = results(tmp_path), results(everything)
    assert list(found) == ["flipped_labels", "stability"]
    assert found["flipped_labels"] == expected["flipped_labels"]
    second = 2 * expected["stability"]["levels"]["redrawn"]["zero"]["instability"]["mean"] - first
    assert found["stability"]["levels"]["redrawn"]["zero"]["instability"]["mean"] == pytest.approx((0.25 + second) / 2)
    others = [method for method in METHODS if method != "zero"]
    shown = found["stability"]["levels"]["redrawn"], expected["stability"]["levels"]["redrawn"]
    assert all(shown[0][method]["instability"]["mean"] == shown[1][method]["instability"]["mean"] for method in others)


@pytest.mark.parametrize("arguments", [("--only", "earthquake"), ("--only", "stability", "earthquake")])
def test_an_unknown_stress_is_refused_by_name_before_anything_is_read(
    workshop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert stress(workshop, tmp_path, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--only: got 'earthquake', expected one of left_out_source, flipped_labels, " in line
    assert not (tmp_path / "stress").exists()


def test_another_config_does_not_mix_with_kept_trials(
    workshop: Path, everything: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (everything / "stress" / "stress.json").read_bytes()
    assert stress(workshop, everything, "--only", "stability", "--data.num_calibration", "12") == 2
    assert "another table, config or version" in capsys.readouterr().err
    assert (everything / "stress" / "stress.json").read_bytes() == before


def test_a_table_without_sources_or_prompts_to_spare_says_what_was_not_possible(workshop: Path, tmp_path: Path) -> None:
    only = ("--only", "left_out_source", "few_calibration_prompts", "worst_source", "--data.num_calibration", "8")
    run = ["stress", "--trials", "1", "--workers", "1", *only]
    settings = ("--output_dir", str(tmp_path), "--evaluation.methods", "[zero, end_to_end]")
    assert main([*run, *miniature(workshop, *settings, table="simulated:60x9")]) == 0
    text = (tmp_path / "stress" / "stress.md").read_text()
    assert (
        "Not possible on this table, for lack of sources or prompts: Left-out source, Few calibration prompts" in text
    )
