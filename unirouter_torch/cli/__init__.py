"""The commands: ``unirouter``, and ``train.py``, which is ``unirouter train``."""

import difflib
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from unirouter_torch import __version__
from unirouter_torch.cli.old_spellings import with_new_spellings
from unirouter_torch.cli.output import guarded, plain_console
from unirouter_torch.cli.parser import CommandParser

COMMANDS: dict[str, Any] = {
    "train": "evaluate:train",
    "route": "route:route",
    "pool": {
        "list": "pool:show_list",
        "show": "pool:show_llm",
        "history": "pool:show_history",
        "add": "pool:add",
        "observe": "pool:observe",
        "remove": "pool:remove",
        "rename": "pool:rename",
        "reprice": "pool:reprice",
        "disable": "pool:disable",
        "enable": "pool:enable",
        "undo": "pool:undo",
    },
    "tune": "tune:tune",
    "serve": "serve:serve",
    "promote": "promote:promote",
    "adopt": "adopt:adopt",
    "measure": "measure:measure",
    "route-archive": "score:score",
    "export": "export:export",
    "evaluate": "evaluate:evaluate",
    "stress": "stress:stress",
    "pretrain": "pretrain:pretrain",
    "distill": "distill:distill",
    "data": {"prepare": "data:prepare"},
    "arena": {"predict": "arena:predict", "score": "arena:score_predictions"},
    "recipes": "recipes:list_recipes",
    "doctor": "doctor:doctor",
    "completion": "completion:completion",
}
"""A command is a function, whose docstring is its help and whose dataclass of options is its options: its file in this
folder and its name, so that only the command that is run is imported."""

GROUPS = {
    "pool": "Look at the LLMs of a saved router, add, remove and change them.",
    "data": "Prepare public routing tables.",
    "arena": "Write a submission to RouterArena, and compute its score.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``unirouter``.

    Args:
        arguments: The command line; that of this process when not given.

    Returns:
        Exit code: 0, 2 after a user's mistake, 130 after an interrupt, 143 after SIGTERM.
    """
    words, notes = with_new_spellings(sys.argv[1:] if arguments is None else arguments)
    for note in notes:
        plain_console(stderr=True, soft_wrap=True).print(f"note: {note}")
    if wrong := _unknown_command(words):
        _parser(COMMANDS).error(wrong)
    parser = _parser(_named(words, COMMANDS))
    options, rest = parser.parse_known_args(words)
    command: CommandParser = options.parser
    if rest and not command.takes_settings:
        command.error(_unknown_arguments(rest, command))
    return guarded(lambda: command.run(options, rest), settings=command.names)


def build_parser() -> CommandParser:
    """The parser of ``unirouter`` and all of its commands; the reference of the docs is written from it."""
    parser = _parser(COMMANDS)
    parser.declare()
    return parser


def load_command(place: str) -> Callable[..., None]:
    """The function that runs a command, from its place in ``COMMANDS``."""
    module, _, function = place.partition(":")
    command: Callable[..., None] = getattr(import_module(f"{__name__}.{module}"), function)
    return command


def _named(words: Sequence[str], commands: dict[str, Any]) -> dict[str, Any]:
    """The one command that a command line names; all of them where it names none, as for the help."""
    if not words or words[0] not in commands:
        return commands
    command = commands[words[0]]
    return {words[0]: _named(words[1:], command) if isinstance(command, dict) else command}


def _parser(commands: dict[str, Any]) -> CommandParser:
    """As :func:`build_parser`, of some commands, each of which declares its options when it is first used."""
    parser = CommandParser(prog="unirouter", description="Train and use a router over a pool of LLMs.")
    parser.add_argument("--version", action="version", version=f"unirouter_torch {__version__}")
    _add_commands(parser, commands)
    return parser


def _add_commands(parser: CommandParser, commands: dict[str, Any]) -> None:
    actions = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, command in commands.items():
        if isinstance(command, dict):
            group = actions.add_parser(name, help=_summary(GROUPS[name]), description=GROUPS[name])
            _add_commands(group, command)
        else:
            run = load_command(command)
            doc = inspect.getdoc(run) or ""
            actions.add_parser(name, help=_summary(doc), description=doc.replace("``", ""), command=run)


def _summary(text: str) -> str:
    """The first sentence, as a list of commands shows it."""
    first = text.strip().splitlines()[0].rstrip(".")
    return (first[0].lower() + first[1:]).replace("``", "").replace("%", "%%")


def _unknown_command(words: Sequence[str]) -> str | None:
    """What is wrong with the name of a command, with the nearest names; None where it is known."""
    commands: dict[str, Any] | str = COMMANDS
    for word in words:
        if not isinstance(commands, dict) or word.startswith("-"):
            return None
        if word not in commands:
            near = difflib.get_close_matches(word, commands, n=2)
            hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(commands)}."
            return f"{word}: no such command; {hint}"
        commands = commands[word]
    return None


def _unknown_arguments(rest: Sequence[str], command: CommandParser) -> str:
    flags = ["--" + name.replace("_", "-") for name in command.names]
    near = difflib.get_close_matches(rest[0].partition("=")[0], flags, n=1)
    return f"unrecognized arguments: {' '.join(rest)}" + (f"; did you mean {near[0]}?" if near else "")
