"""Every command and option is explained; old names work; what is misspelt is named."""

import argparse
from collections.abc import Iterator

import pytest

from unirouter_torch import __version__
from unirouter_torch.cli import build_parser, main
from unirouter_torch.cli.old_spellings import OLD_COMMANDS, OLD_FLAGS, with_new_spellings


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        for inner in group.choices.values():
            yield from leaves(inner)
    if not groups:
        yield parser


COMMANDS = {parser.prog.removeprefix("unirouter "): parser for parser in leaves(build_parser())}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command: str) -> None:
    parser = COMMANDS[command]
    assert parser.description
    assert [action.dest for action in parser._actions if not action.help or len(action.help) < 8] == []


@pytest.mark.parametrize("command", ["train", "evaluate", "stress", "pretrain"])
def test_help_explains_every_setting(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert "--head.num_clusters" in text
    assert "Number of clusters, at least 1" in text
    assert "Share of the LLMs kept from training" in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["rout"], "did you mean route?"),
        (["pool", "lst"], "did you mean list?"),
        (["xyz"], "expected one of train, route"),
        (["route", "--router", "r", "--cost-wieght", "1", "hi"], "did you mean --cost-weight?"),
    ],
)
def test_near_misses_are_named(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert hint in capsys.readouterr().err


def test_every_old_name_is_one_of_a_command_of_today() -> None:
    assert set(OLD_COMMANDS.values()) <= set(COMMANDS)
    for command, flags in OLD_FLAGS.items():
        options = {
            flag for name, one in COMMANDS.items() if name.startswith(command) for flag in one._option_string_actions
        }
        assert set(flags.values()) <= options
        assert not set(flags) & options


def test_old_names_become_those_of_today_with_a_note() -> None:
    words, notes = with_new_spellings(["pool", "add", "--llm=owl", "--metric", "score"])
    assert words == ["pool", "add", "--llm-in-file=owl", "--metric", "score"]
    assert notes == ["--llm is now --llm-in-file; the old name works in this release only."]


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"unirouter_torch {__version__}\n"


def test_a_message_names_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "--router", "r", "--top", "0", "hi"]) == 2
    assert "--top: got 0, expected at least 1." in capsys.readouterr().err
