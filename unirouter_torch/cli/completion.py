"""``unirouter completion``: what a shell offers at the tabulator key."""

import sys
from dataclasses import dataclass
from typing import Annotated

from unirouter_torch.cli.options import Shown
from unirouter_torch.errors import ConfigError

SHELLS = ("bash", "zsh", "tcsh")


@dataclass(frozen=True, kw_only=True)
class CompletionOptions:
    """Options of ``unirouter completion``."""

    shell: Annotated[str, Shown(metavar="SHELL", positional=True)]
    """The shell: bash, zsh or tcsh."""

    def __post_init__(self) -> None:
        """Check the shell."""
        if self.shell not in SHELLS:
            raise ConfigError(f"shell: got {self.shell!r}, expected one of {', '.join(SHELLS)}.")


def completion(options: CompletionOptions) -> None:
    """Write the completions of a shell, for it to read: eval "$(unirouter completion bash)"."""
    import shtab

    from unirouter_torch.cli import build_parser

    sys.stdout.write(shtab.complete(build_parser(), shell=options.shell) + "\n")
