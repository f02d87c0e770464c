"""What the commands share: how they are declared, what they print, how a user's mistake ends."""

import contextlib
import os
import signal
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from unirouter_torch.cli.options import with_flags
from unirouter_torch.errors import ConfigError, TerminatedError, UniRouterError

if TYPE_CHECKING:
    from unirouter_torch.config.router import Backend
    from unirouter_torch.router.router import Router

EXIT_USER_ERROR = 2
INTERRUPTED = 130
TERMINATED = 143
SETTINGS_EPILOG = "All other arguments are those of train.py: --config FILE, --dotted.key VALUE."


def plain_console(*, stderr: bool = False, soft_wrap: bool = False) -> Console:
    """A console that prints prompts and names as they are: ``[/INST]`` is no markup, ``:smile:`` no picture.

    Args:
        stderr: Print to standard error.
        soft_wrap: Leave long lines whole.
    """
    return Console(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)


def guarded(command: Callable[[], None], *, settings: Collection[str] = ()) -> int:
    """Run a command; a user's mistake becomes one message on standard error.

    Args:
        command: What to run.
        settings: Names of the settings that are options of the command; a message says their flags.

    Returns:
        The exit code.
    """
    console, mistake = plain_console(stderr=True, soft_wrap=True), Text("error:", style="bold red")
    try:
        with _plain_warnings(console), _heeding_sigterm():
            command()
    except UniRouterError as error:
        console.print(mistake, f"{type(error).__name__}: {with_flags(str(error), settings)}")
        return EXIT_USER_ERROR
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "unirouter_torch"):
            raise
        console.print(
            mistake,
            f"this command needs the package {package}, which the plain installation leaves out. "
            "Run `pip install 'unirouter_torch[train,eval]'`.",
        )
        return EXIT_USER_ERROR
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        console.print(mistake, f"{error.strerror or error}{place}")
        return EXIT_USER_ERROR
    except TerminatedError as message:
        console.print(str(message))
        return TERMINATED
    except KeyboardInterrupt as interrupt:
        kept = "interrupted; what was finished is kept, the same command goes on from there"
        console.print(str(interrupt) or kept)
        return INTERRUPTED
    return 0


@contextlib.contextmanager
def needing_extra(extra: str, command: str) -> Iterator[None]:
    """Imports of what an extra of the package installs.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("unirouter_torch"):
            raise
        raise ConfigError(
            f"{command}: {error.name} is not installed. Run `pip install 'unirouter_torch[{extra}]'`."
        ) from None


@contextlib.contextmanager
def _heeding_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as an interrupt does; a training takes the signal over, to save before it ends."""

    def end(*_: Any) -> None:
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _plain_warnings(console: Console) -> Iterator[None]:
    """Warnings of this package as one line each, without a source line."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print(Text("warning:", style="yellow"), str(message))

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore")
        warnings.filterwarnings("always", category=UserWarning, module=r"unirouter_torch(\.|$)")
        warnings.showwarning = show
        yield


def open_router(name: str, backend: "Backend") -> "Router":
    """A router for a command that routes prompts; how faithful another backend than torch is, is said."""
    from unirouter_torch.router.router import Router

    router = Router.from_pretrained(name, backend=backend)
    if router.equal_choices is not None:
        told = f"{backend}: chooses as torch does for {router.equal_choices:.1%} of the calibration prompts"
        plain_console(stderr=True, soft_wrap=True).print(told)
    return router


def print_places(console: Console, places: dict[str, Path]) -> None:
    """List where results lie, relative to the current folder."""
    width = max(len(name) for name in places)
    for name, place in places.items():
        console.print(f"{name:<{width}}  {os.path.relpath(place)}", soft_wrap=True)
