"""Options are what the dataclass says: names, defaults, texts."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_type_hints

import pytest

from unirouter_torch.cli import COMMANDS, load_command
from unirouter_torch.cli.options import Shown, declare, options_of, read, with_flags
from unirouter_torch.config.choice import Choice, ChoiceOptions


def test_every_command_that_chooses_takes_the_same_options() -> None:
    choice = set(get_type_hints(Choice))
    assert choice == {option.name for option in options_of(ChoiceOptions)}
    for command in ("route", "route-archive", "serve", "export", "tune"):
        owner = get_type_hints(load_command(COMMANDS[command]))["options"]
        texts = {option.name: option.text for option in options_of(owner)}
        assert texts.items() >= {option.name: option.text for option in options_of(ChoiceOptions)}.items(), command
        assert ("cost_weight" in texts) == (command != "tune")


@dataclass(frozen=True, kw_only=True)
class Inner:
    """How a bird sings."""

    loudness_db: float
    """Loudness, 50% more at night."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What every bird has."""

    feathers: int = 7
    """Number of feathers."""


@dataclass(frozen=True, kw_only=True)
class Bird(Base):
    """A bird."""

    name: Annotated[str, Shown(metavar="NAME", positional=True)]
    """Its name."""
    song: Inner
    """Its song."""
    colour: Literal["red", "blue"] = "red"
    """Its colour,
    in two lines."""
    nest: Path | None = None
    """Where it lives."""
    can_fly: bool = False
    """Whether it flies."""
    eggs: list[int] = field(default_factory=list)
    """Weights of its eggs."""


def parse(*arguments: str) -> Bird:
    parser = argparse.ArgumentParser()
    declare(parser, Bird)
    return read(Bird, parser.parse_args(arguments))


def test_options_that_are_not_given_have_the_defaults_of_the_fields() -> None:
    assert parse("owl", "--loudness-db", "3") == Bird(name="owl", song=Inner(loudness_db=3.0))


def test_every_type_is_read() -> None:
    flags = "--loudness-db 3 --colour blue --nest a/b --can-fly --eggs 1 2 --feathers 9"
    assert parse("owl", *flags.split()) == Bird(
        name="owl",
        song=Inner(loudness_db=3.0),
        colour="blue",
        nest=Path("a/b"),
        can_fly=True,
        eggs=[1, 2],
        feathers=9,
    )


@pytest.mark.parametrize(
    "arguments", [["owl"], ["--loudness-db", "3"], ["owl", "--loudness-db", "3", "--colour", "no"]]
)
def test_what_is_required_or_unknown_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)


def test_help_is_the_docstring_of_the_field_with_its_default() -> None:
    parser = argparse.ArgumentParser()
    declare(parser, Bird)
    shown = " ".join(parser.format_help().split())
    assert "Number of feathers. (default: 7)" in shown
    assert "Its colour, in two lines. (default: red)" in shown
    assert "How a bird sings: --loudness-db X Loudness, 50% more at night." in shown
    assert "Where it lives." in shown and "default: None" not in shown


def test_options_keep_the_order_of_the_fields_and_those_inherited_come_first() -> None:
    names = [option.name for option in options_of(Bird)]
    assert names == ["feathers", "name", "loudness_db", "colour", "nest", "can_fly", "eggs"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("eggs: got 0, expected at least 1.", "--eggs: got 0, expected at least 1."),
        ("eggs, can_fly: give both.", "--eggs, --can-fly: give both."),
        ("nest: no such bird; set can_fly.", "--nest: no such bird; set --can-fly."),
        ("a.csv: column 'can_fly': got no eggs.", "a.csv: column 'can_fly': got no eggs."),
        ("head.can_fly: got 1.", "head.can_fly: got 1."),
    ],
)
def test_settings_in_a_message_become_flags(message: str, shown: str) -> None:
    assert with_flags(message, {"eggs", "can_fly", "nest"}) == shown
