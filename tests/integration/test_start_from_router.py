"""From the command line: a router trained elsewhere, tuned on another table."""

import json
from pathlib import Path

import pytest
from miniature import miniature

from unirouter_torch import Router
from unirouter_torch.cli import main


@pytest.fixture(scope="module")
def pretrained(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("pretrained")
    tables = ("--data.tables", "[simulated:120x8, simulated:80x6]")
    assert main(["pretrain", *miniature(workshop, "--output_dir", str(folder), *tables)]) == 0
    return str(folder / "router")


def start_from(router: str) -> tuple[str, ...]:
    return ("--head.start_from", router)


def test_run_goes_on_from_the_router(workshop: Path, pretrained: str, tmp_path: Path) -> None:
    # so gentle a rate that the head stays where it started
    gentle = ("--optimizer.learning_rate", "1e-7")
    assert main(["train", *miniature(workshop, "--output_dir", str(tmp_path), *start_from(pretrained), *gentle)]) == 0
    before, after = Router.from_pretrained(pretrained).head, Router.from_pretrained(tmp_path / "router").head
    for name, value in after.state_dict().items():
        assert value.numpy() == pytest.approx(before.state_dict()[name].numpy(), abs=1e-4), name


def test_trials_compute_only_what_another_start_changes(workshop: Path, pretrained: str, tmp_path: Path) -> None:
    arguments = miniature(workshop, "--output_dir", str(tmp_path), "--evaluation.methods", "[zero, end_to_end]")
    assert main(["evaluate", "--trials", "1", *arguments]) == 0
    place = tmp_path / "trials" / "seed_0.json"
    kept = json.loads(place.read_text())
    kept["methods"]["zero"]["area"] = 0.125
    place.write_text(json.dumps(kept))
    assert main(["evaluate", "--trials", "1", *arguments, *start_from(pretrained)]) == 0
    found = json.loads(place.read_text())["methods"]
    assert found["zero"]["area"] == 0.125
    assert found["end_to_end"]["settings"] != kept["methods"]["end_to_end"]["settings"]
    assert found["end_to_end"]["area"] != kept["methods"]["end_to_end"]["area"]


def test_trials_over_the_encoder_of_a_router_are_of_their_own(
    workshop: Path, pretrained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Router.from_pretrained(pretrained).save_pretrained(tmp_path / "router")
    arguments = miniature(workshop, "--output_dir", str(tmp_path / "run"), "--evaluation.methods", "[zero, end_to_end]")
    assert main(["evaluate", "--trials", "1", *arguments]) == 0
    assert main(["evaluate", "--trials", "1", *arguments, *start_from(str(tmp_path / "router"))]) == 2
    assert "a trial of another table, config or version" in capsys.readouterr().err


def test_router_that_does_not_fit_is_one_line(
    workshop: Path, pretrained: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clusters = ("--head.num_clusters", "7")
    assert main(["train", *miniature(workshop, "--output_dir", str(tmp_path), *start_from(pretrained), *clusters)]) == 2
    assert "head.num_clusters: got 7, but the router of head.start_from" in capsys.readouterr().err
