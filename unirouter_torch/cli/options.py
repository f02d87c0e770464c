"""A command's options from a dataclass: each field is an option, whose type, default and docstring say the rest."""

import argparse
import math
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

Options = TypeVar("Options")

METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How an option is written on the command line, where its type alone does not say it."""

    metavar: str
    """What the help calls its value."""
    positional: bool = False
    """Whether it is given by its place, without a flag."""
    parse: Callable[[str], Any] | None = None
    """Makes its value from the text; its type does when not given."""


Folder = Annotated[Path, Shown(metavar="DIR")]
File = Annotated[Path, Shown(metavar="FILE")]
Name = Annotated[str, Shown(metavar="NAME")]
SavedRouter = Annotated[str, Shown(metavar="ROUTER")]


class Option(NamedTuple):
    """One field of a dataclass of options.

    Attributes:
        name: Of the field.
        type: Without ``None`` and without annotations.
        default: Of the field; ``MISSING`` where it has to be given.
        text: Docstring of the field.
        shown: How it is written.
    """

    name: str
    type: Any
    default: Any
    text: str
    shown: Shown | None

    @property
    def flag(self) -> str:
        """``--cost-weight`` for ``cost_weight``."""
        return "--" + self.name.replace("_", "-")


def options_of(owner: type) -> Iterator[Option]:
    """The options of a dataclass in the order of its fields; those of a dataclass in a field count as its own."""
    hints, texts = get_type_hints(owner, include_extras=True), field_texts(owner)
    for field in fields(owner):
        hint, shown = _plain(hints[field.name])
        if is_dataclass(hint):
            yield from options_of(cast(type, hint))
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        yield Option(field.name, hint, default, texts[field.name], shown)


@cache
def field_texts(owner: type) -> dict[str, str]:
    """The docstrings of the fields of a dataclass, inherited ones included, each as one line."""
    from docstring_parser import parse_from_object

    texts: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if is_dataclass(base):
            found = parse_from_object(base).params
            texts |= {one.arg_name: " ".join((one.description or "").split()) for one in found}
    return texts


def declare(parser: argparse.ArgumentParser, owner: type) -> None:
    """Declare the options of a dataclass; a dataclass in one of its fields becomes a group of the help."""
    own = [field.name for field in fields(owner)]
    hints = get_type_hints(owner, include_extras=True)
    for option in options_of(owner):
        if option.name in own:
            _declare_one(parser, option)
    for name in own:
        hint, _ = _plain(hints[name])
        if is_dataclass(hint):
            group = parser.add_argument_group((hint.__doc__ or name).strip().splitlines()[0].rstrip("."))
            for option in options_of(cast(type, hint)):
                _declare_one(group, option)


def read(owner: type[Options], found: argparse.Namespace) -> Options:
    """The dataclass with the values of the command line.

    Raises:
        ConfigError: A value is out of range.
    """
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(owner, include_extras=True).items():
        plain, _ = _plain(hint)
        values[name] = read(cast(type, plain), found) if is_dataclass(plain) else getattr(found, name)
    return owner(**values)


def with_flags(message: str, names: Collection[str]) -> str:
    """A message of the library, which names settings, as a command says it, whose user knows flags.

    The settings before the first colon are written as flags, and those of several words wherever they are.

    Example:
        >>> with_flags("batch_size: got 0, expected at least 1.", {"batch_size"})
        '--batch-size: got 0, expected at least 1.'
    """

    def flagged(match: re.Match[str]) -> str:
        name = match[0]
        return "--" + name.replace("_", "-") if name in names else name

    head, colon, rest = message.partition(":")
    if colon and re.fullmatch(r"\w+(?:(?:, | and )\w+)*", head):
        head = re.sub(r"\w+", flagged, head)
    return re.sub(r"(?<![\w'`./-])[a-z]+(?:_[a-z]+)+(?![\w'`/]|\.\w)", flagged, head + colon + rest)


def _declare_one(parser: "argparse._ActionsContainer", option: Option) -> None:
    shown, kind = option.shown, option.type
    many = get_origin(kind) is list
    if many:
        (kind,) = get_args(kind)
    choices = get_args(kind) if get_origin(kind) is Literal else None
    default = None if option.default is MISSING else option.default
    text = option.text.replace("``", "").replace("%", "%%")
    if kind is bool:
        parser.add_argument(option.flag, action="store_true", help=text)
        return
    if default not in (None, [], {}, math.inf):
        text += f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"
    settings: dict[str, Any] = {
        "type": shown.parse if shown is not None and shown.parse else str if choices else kind,
        "choices": choices,
        "help": text,
        "default": default,
    }
    if not choices:
        settings["metavar"] = shown.metavar if shown is not None else METAVARS[kind]
    is_required = option.default is MISSING
    if shown is not None and shown.positional:
        settings["nargs"] = ("+" if is_required else "*") if many else None if is_required else "?"
        parser.add_argument(option.name, **settings)
        return
    if many:
        settings |= {"nargs": "+", "action": "extend"}
    parser.add_argument(option.flag, required=is_required, **settings)


def _plain(hint: Any) -> tuple[Any, Shown | None]:
    """A type without ``None`` and annotations, and how it is written."""
    shown: Shown | None = None
    while True:
        if get_origin(hint) is Annotated:
            hint, *notes = get_args(hint)
            shown = next((note for note in notes if isinstance(note, Shown)), shown)
        elif NoneType in get_args(hint):
            hint = next(one for one in get_args(hint) if one is not NoneType)
        else:
            return hint, shown
