"""What a public table is: where its files are published, what is known of them, and how they are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.table import TablePlaces


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Files of a Hugging Face dataset repository."""

    repository: str
    """``owner/name``."""
    revision: str
    """The commit that this package was written for, or a branch where no commit could be found out."""


@dataclass(frozen=True, kw_only=True)
class WebFiles:
    """Files that lie at fixed addresses outside the hub."""

    addresses: Mapping[str, str]
    """HTTPS address of each file, by its name."""


@dataclass(frozen=True, kw_only=True)
class PublicTable:
    """One public routing table."""

    name: str
    """What ``unirouter data prepare`` calls it."""
    files: tuple[str, ...]
    """Files to read, relative to their folder; ``*`` matches any text."""
    origin: HubFiles | WebFiles
    """Where the files come from."""
    licence: str
    """The licence that the publisher states, or that none is stated."""
    read: Callable[[Path], SourceTables]
    """Reads the files below a folder into the three tables."""
    holds_pickle: bool = False
    """Whether a file is a pickle, a format that can carry code."""
    sha256: Mapping[str, str] = field(default_factory=dict)
    """Published checksums of files at the pinned revision, where known."""
    choices: tuple[str, ...] = ()
    """What the publisher leaves open and this package decides, kept with the prepared table."""


def places_in(folder: Path, files: str) -> TablePlaces:
    """Name the three parts of a table after the files that they are read from.

    Args:
        folder: The folder of the files.
        files: The files, for messages.

    Returns:
        A place for each part.
    """
    return TablePlaces(*(f"{folder / files} ({part})" for part in TablePlaces._fields))
