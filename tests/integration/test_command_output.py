"""What commands print of prompts, names and paths that users chose."""

from pathlib import Path

import pytest
from small_router import small_router

from unirouter_torch.cli import main

MARKUP = "[INST] list[int] :smile: [/INST]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    router = small_router(tmp_path)
    for name, new_name in (("large", "[/b]large[red]"), ("other", "o" * 60 + "@north")):
        router.pool = router.pool.with_changes(name, name=new_name)
    router.save_pretrained(tmp_path / "router")
    return tmp_path / "router"


def printed(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_prompts_and_names_that_look_like_markup_are_printed_as_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = printed(capsys, "route", "--router", folder, MARKUP)
    assert MARKUP in table
    assert "[/b]large[red]" in table
    for action in (["list"], ["show", "[/b]large[red]"]):
        assert "[/b]large[red]" in printed(capsys, "pool", *action, "--router", folder)


def test_long_names_are_printed_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["route", MARKUP], ["pool", "list"]):
        table = printed(capsys, *command, "--router", folder)
        assert "@north" in table.replace("\n", "")
        assert "…" not in table


def test_path_that_looks_like_markup_is_named_in_the_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "[red]").mkdir()
    assert main(["route", "--router", "none", "--input", str(tmp_path / "[red]")]) == 2
    assert str(tmp_path / "[red]") in capsys.readouterr().err
