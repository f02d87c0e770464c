import json
from pathlib import Path

import published_files as made
import pytest

from unirouter_torch.cli import main
from unirouter_torch.cli.output import EXIT_USER_ERROR
from unirouter_torch.data.load import load_table


def run(*arguments: str) -> int:
    return main(["data", *arguments])


@pytest.mark.parametrize("name", made.WRITERS)
def test_command_prepares_every_table_from_published_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    made.WRITERS[name](tmp_path)
    output = tmp_path / "tables" / name
    leave = ["--unsafe-pickle"] if name in made.PICKLED else []
    assert run("prepare", name, "--output", str(output), "--from-files", str(tmp_path), *leave) == 0
    printed = capsys.readouterr().out
    size = json.loads((output / "provenance.json").read_text())["size"]
    assert f"{size['num_outcomes']} outcomes of {size['num_llms']} LLMs on {size['num_prompts']} prompts" in printed
    assert "provenance.json" in printed
    assert load_table(str(output), cost_rule="equal").num_prompts == size["num_prompts"]


def test_mistake_ends_the_command_with_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made.routerbench(tmp_path)
    output = tmp_path / "table"
    assert run("prepare", "routerbench", "--output", str(output), "--from-files", str(tmp_path)) == EXIT_USER_ERROR
    message = capsys.readouterr().err
    assert message.startswith("error: DataError: routerbench:") and message.count("\n") == 1
    assert not output.exists()
