"""The only reader and writer of YAML, and the only parser of command lines into a config."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonargparse
import yaml

from unirouter_torch.config.recipes import find_recipe
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.storage import write_atomically


def to_plain(config: TrainConfig) -> dict[str, Any]:
    """The config as nested dictionaries of JSON types."""
    return asdict(config)


def write_config(config: TrainConfig, path: Path) -> None:
    """Write the whole config as YAML, every key with its value; ``train.py --config`` reads it again."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode("utf-8"))


def parse_config(arguments: Sequence[str] | None = None, *, program: str | None = None) -> TrainConfig:
    """A config from ``--config FILE_OR_RECIPE`` and ``--dotted.key value``, layered from left to right.

    Args:
        arguments: The command line; that of this process when not given.
        program: Name shown in the usage message.

    Raises:
        SystemExit: With code 2 after one message when a key is unknown or a value is of the wrong type.
        ConfigError: A value is out of range.
    """
    return _parse(_with_recipe_files(sys.argv[1:] if arguments is None else arguments), program)


def _with_recipe_files(arguments: Sequence[str]) -> list[str]:
    """The arguments, with the file of each recipe that is given by its name."""
    found: list[str] = []
    for word in arguments:
        if found and found[-1] == "--config":
            found.append(str(find_recipe(word)))
        elif word.startswith("--config="):
            found.append(f"--config={find_recipe(word.removeprefix('--config='))}")
        else:
            found.append(word)
    return found


def settings_help() -> str:
    """Every setting of a training with its docstring, as ``--help`` shows them."""
    parser = jsonargparse.capture_parser(lambda: _parse([], None))
    return parser.format_help().partition("\n\noptions:\n")[2].partition("and exit.\n")[2]


def _parse(arguments: list[str], program: str | None) -> TrainConfig:
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    config: TrainConfig = jsonargparse.auto_cli(
        TrainConfig,
        as_positional=False,
        args=arguments,
        prog=program,
        usage="%(prog)s [--config FILE] [--dotted.key VALUE ...]",
    )
    return config
