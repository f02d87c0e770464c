"""The parser of one command, made of the function that runs it."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from unirouter_torch.cli.options import declare, options_of, read


class CommandParser(argparse.ArgumentParser):
    """A parser that declares its options when they are first needed: most commands of a program are not run.

    Args:
        command: The function that runs the command. Its parameter ``options`` has the dataclass of the options;
            ``settings``, where it has one, takes the arguments of ``train.py``.
        keywords: Those of ``argparse.ArgumentParser``.
    """

    def __init__(self, *, command: Callable[..., None] | None = None, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **keywords)
        self._command = command
        self._is_declared = False
        hints = {} if command is None else get_type_hints(command)
        self._owner: type | None = hints.get("options")
        self.takes_settings = "settings" in hints
        self.set_defaults(parser=self)

    @property
    def names(self) -> set[str]:
        """Names of the settings that are options of the command."""
        return set() if self._owner is None else {option.name for option in options_of(self._owner)}

    def declare(self) -> None:
        """Declare the options, and those of the commands below, once."""
        self._declare()
        for group in self._subparsers._group_actions if self._subparsers is not None else ():
            for parser in set(group.choices.values()) if isinstance(group.choices, dict) else ():
                parser.declare()

    def _declare(self) -> None:
        if self._is_declared:
            return
        self._is_declared = True
        if self._owner is not None:
            declare(self, self._owner)
        if self.takes_settings:
            self.usage = f"{self.format_usage().partition(' ')[2].strip()} [--config FILE] [--dotted.key VALUE ...]"
            self.epilog = "All other arguments are settings: --config FILE, --dotted.key VALUE."

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """As argparse's, with the options declared before."""
        self._declare()
        return super().parse_known_args(args, namespace)

    def format_help(self) -> str:
        """As argparse's, with the settings of ``train.py`` after the options where the command takes them."""
        self._declare()
        return super().format_help() + (_settings_help() if self.takes_settings else "")

    def run(self, found: argparse.Namespace, rest: list[str]) -> None:
        """Run the command with the options that were found.

        Raises:
            ConfigError: An option is out of range.
        """
        assert self._command is not None
        given: dict[str, Any] = {} if self._owner is None else {"options": read(self._owner, found)}
        self._command(**given, **({"settings": rest} if self.takes_settings else {}))


def _settings_help() -> str:
    """The settings of a training, as they are given by their dotted keys."""
    try:
        from unirouter_torch.config.files import settings_help
    except ModuleNotFoundError:
        return "\nAll other arguments are settings; `pip install 'unirouter_torch[train,eval]'` shows and takes them.\n"
    return "\n" + settings_help()
