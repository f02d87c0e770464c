"""The commands: ``unirouter``, and ``train.py``, which is ``unirouter train``."""

import difflib
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any

from unirouter_torch import __version__
from unirouter_torch.cli.adopt import adopt
from unirouter_torch.cli.arena import predict, score_predictions
from unirouter_torch.cli.completion import completion
from unirouter_torch.cli.data import prepare
from unirouter_torch.cli.distill import distill
from unirouter_torch.cli.doctor import doctor
from unirouter_torch.cli.evaluate import evaluate, train
from unirouter_torch.cli.export import export
from unirouter_torch.cli.measure import measure
from unirouter_torch.cli.old_spellings import with_new_spellings
from unirouter_torch.cli.output import guarded, plain_console
from unirouter_torch.cli.parser import CommandParser
from unirouter_torch.cli.pool import (
    add,
    disable,
    enable,
    observe,
    remove,
    rename,
    reprice,
    show_history,
    show_list,
    show_llm,
    undo,
)
from unirouter_torch.cli.pretrain import pretrain
from unirouter_torch.cli.promote import promote
from unirouter_torch.cli.recipes import list_recipes
from unirouter_torch.cli.route import route
from unirouter_torch.cli.score import score
from unirouter_torch.cli.serve import serve
from unirouter_torch.cli.stress import stress
from unirouter_torch.cli.tune import tune

COMMANDS: dict[str, Any] = {
    "train": train,
    "route": route,
    "pool": {
        "list": show_list,
        "show": show_llm,
        "history": show_history,
        "add": add,
        "observe": observe,
        "remove": remove,
        "rename": rename,
        "reprice": reprice,
        "disable": disable,
        "enable": enable,
        "undo": undo,
    },
    "tune": tune,
    "serve": serve,
    "promote": promote,
    "adopt": adopt,
    "measure": measure,
    "route-archive": score,
    "export": export,
    "evaluate": evaluate,
    "stress": stress,
    "pretrain": pretrain,
    "distill": distill,
    "data": {"prepare": prepare},
    "arena": {"predict": predict, "score": score_predictions},
    "recipes": list_recipes,
    "doctor": doctor,
    "completion": completion,
}
"""A command is a function, whose docstring is its help and whose dataclass of options is its options."""

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
    parser = _parser()
    if wrong := _unknown_command(words):
        parser.error(wrong)
    options, rest = parser.parse_known_args(words)
    command: CommandParser = options.parser
    if rest and not command.takes_settings:
        command.error(_unknown_arguments(rest, command))
    return guarded(lambda: command.run(options, rest), settings=command.names)


def build_parser() -> CommandParser:
    """The parser of ``unirouter`` and all of its commands; the reference of the docs is written from it."""
    parser = _parser()
    parser.declare()
    return parser


def _parser() -> CommandParser:
    """As :func:`build_parser`, but each command declares its options when it is first used."""
    parser = CommandParser(prog="unirouter", description="Train and use a router over a pool of LLMs.")
    parser.add_argument("--version", action="version", version=f"unirouter_torch {__version__}")
    _add_commands(parser, COMMANDS)
    return parser


def _add_commands(parser: CommandParser, commands: dict[str, Any]) -> None:
    actions = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    for name, command in commands.items():
        if isinstance(command, dict):
            group = actions.add_parser(name, help=_summary(GROUPS[name]), description=GROUPS[name])
            _add_commands(group, command)
        else:
            doc = inspect.getdoc(command) or ""
            actions.add_parser(name, help=_summary(doc), description=doc.replace("``", ""), command=command)


def _summary(text: str) -> str:
    """The first sentence, as a list of commands shows it."""
    first = text.strip().splitlines()[0].rstrip(".")
    return (first[0].lower() + first[1:]).replace("``", "").replace("%", "%%")


def _unknown_command(words: Sequence[str]) -> str | None:
    """What is wrong with the name of a command, with the nearest names; None where it is known."""
    commands: dict[str, Any] | Callable[..., None] = COMMANDS
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
