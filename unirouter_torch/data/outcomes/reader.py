"""What a reader of outcomes is, and what it sees of a file to tell whether it is of its form."""

import csv
import io
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar, NamedTuple

from unirouter_torch.data.files import FileKind, json_paths, kind_of, read_head
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.errors import ConfigError
from unirouter_torch.plugins import built_in_classes, load_plugin


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The beginning of a file.

    Attributes:
        path: The file.
        kind: What it consists of.
        columns: Names of the columns of a table, or of the members of the first JSON object.
        paths: Names in the first JSON object down to its depths, such as ``response.body`` or ``results[].score``; of a
            list ``data``, as services answer, those of its items as well.
        files: Names of the files in a ZIP archive.
    """

    path: Path
    kind: FileKind
    columns: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    @classmethod
    def of(cls, path: Path) -> "Sample":
        """Look at a file.

        Raises:
            DataError: It is missing, or its compression is damaged.
        """
        head = read_head(path)
        kind = kind_of(head)
        if kind == "zip":
            return cls(path=path, kind=kind, files=_files_in(path))
        if kind == "parquet":
            return cls(path=path, kind=kind, columns=_parquet_columns(path))
        if kind == "csv":
            return cls(path=path, kind=kind, columns=_csv_header(head))
        paths = json_paths(head)
        return cls(path=path, kind=kind, columns=frozenset(name for name in paths if "." not in name), paths=paths)


class Run(NamedTuple):
    """One run of a task; of several runs of it by one LLM the newest counts.

    Attributes:
        llm: The LLM, None where nothing says which.
        task: What was run.
        began: When, as text that sorts by time; empty where nothing says so.
    """

    llm: str | None
    task: str
    began: str


class OutcomesReader(ABC):
    """Reads the outcomes in files of one form."""

    name: ClassVar[str]
    """What ``format`` calls the form."""
    form: ClassVar[str]
    """What it is, in a few words, for the list of known forms."""
    without_outcomes: ClassVar[str] = ""
    """Of a form that tells of LLMs but holds no outcomes: what is missing, and where outcomes may be had."""

    beside: ClassVar[tuple[str, ...]] = ()
    """Names of files in the same folder that are read with a file of the form."""

    @abstractmethod
    def recognizes(self, sample: Sample) -> bool:
        """Whether a file is of this form; by its content, as names are often changed."""

    @abstractmethod
    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """The outcomes in a file that is of this form.

        Raises:
            DataError: The file is malformed, or something has to be chosen.
        """

    def run_of(self, path: Path) -> Run | None:
        """The run that a file is of; None where files of this form are no runs."""
        return None


GROUP = "unirouter_torch.readers"
"""Group of the entry points by which other packages bring readers."""


@cache
def built_in_readers() -> dict[str, OutcomesReader]:
    """The readers of this package, by name."""
    classes = built_in_classes("unirouter_torch.data.outcomes.readers", OutcomesReader)  # type: ignore[type-abstract]
    return {name: classes[name]() for name in sorted(classes)}


def all_readers() -> dict[str, OutcomesReader]:
    """The readers of this package and of all that are installed beside it, by name.

    Raises:
        ConfigError: One of another package cannot be imported, or is no reader.
    """
    others = sorted(entry_points(group=GROUP).names - built_in_readers().keys())
    return built_in_readers() | {name: find_reader(name) for name in others}


def find_reader(name: str) -> OutcomesReader:
    """The reader of a form: one of this package, the name of an entry point, or ``package.module:Class``.

    Raises:
        ConfigError: There is none of that name.
    """
    if name in built_in_readers():
        return built_in_readers()[name]
    found = load_plugin(name, group=GROUP, setting="format", built_in=built_in_readers())
    if not (isinstance(found, type) and issubclass(found, OutcomesReader)):
        raise ConfigError(f"format: {name!r} is no class that derives from OutcomesReader. Name one.")
    reader: OutcomesReader = found()
    return reader


def _files_in(path: Path) -> frozenset[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return frozenset()


def _csv_header(head: bytes) -> frozenset[str]:
    try:
        rows = csv.reader(io.StringIO(head.decode("utf-8", "replace"), newline=None))
        return frozenset(name.strip() for name in next(rows, []))
    except csv.Error:
        return frozenset()


def _parquet_columns(path: Path) -> frozenset[str]:
    import pyarrow as pa  # here, as it takes 44 MB that most forms need not
    import pyarrow.parquet as pq

    try:
        return frozenset(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        return frozenset()
