"""Where the outcomes of an LLM are: files and folders, who reads them, and which run of a task counts."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unirouter_torch.data.files import is_hidden, named_columns, read_records
from unirouter_torch.data.outcomes.reader import OutcomesReader, Run, Sample, all_readers, find_reader
from unirouter_torch.errors import DataError, first_few


@dataclass(frozen=True, kw_only=True)
class Place:
    """A file of outcomes.

    Attributes:
        path: The file.
        reader: Who reads it.
        run: The run that it is of, where its form has runs.
    """

    path: Path
    reader: OutcomesReader
    run: Run | None = None


def find_places(paths: Sequence[Path], form: str, llm: str | None = None) -> tuple[list[Place], tuple[str, ...]]:
    """The files of outcomes among files and in folders, however deep; of several runs of one task the newest.

    Args:
        paths: Files, which must be of a known form, and folders, in which other files are passed over.
        form: Name of a reader, or ``auto`` to tell by content.
        llm: Name of the LLM in the files, where its runs alone count.

    Returns:
        The files, and what was left out, in words.

    Raises:
        DataError: One does not exist, or is of no known form; a folder holds no outcomes; nothing says which run of a
            task is the newest.
    """
    found: list[Place] = []
    passed: list[str] = []
    for path in paths:
        if path.is_dir():
            here, others = _in_folder(path, form)
            found += here
            passed += others
        else:
            found.append(_place(path, reader_of(path, form)))
    own = [place for place in found if llm is None or place.run is None or place.run.llm in (None, llm)]
    newest, older = _newest_runs(own or found)
    notes = [f"{place.path}: left out, as a newer run of the task {_task(place)!r} is there" for place in older]
    if passed:
        notes.append(f"{len(passed)} other files were not read, such as {first_few(passed)}")
    return newest, tuple(notes)


def reader_of(path: Path, form: str = "auto") -> OutcomesReader:
    """The reader of a file.

    Raises:
        DataError: It does not exist, is of no known form or of a form without outcomes, or several readers take it for
            theirs.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. Correct the path.")
    if form != "auto":
        return find_reader(form)
    sample = Sample.of(path)
    fitting = [reader for reader in all_readers().values() if reader.recognizes(sample)]
    own = [reader for reader in fitting if reader.name == "log"]
    fitting = own or fitting  # whatever else is in its rows: prompts and scores are those of a log
    if len(fitting) > 1:
        names = " and ".join(reader.name for reader in fitting)
        raise DataError(f"{path}: may be {names}. Name its format.")
    if not fitting:
        if sample.kind in ("json", "lines") and not sample.columns:
            next(read_records(path), None)  # says what is wrong with it
        raise DataError(f"{path}: unknown, not a known form of outcomes; {_beginning(sample)}. {_known_forms()}")
    if fitting[0].without_outcomes:
        raise DataError(f"{path}: {fitting[0].without_outcomes}.")
    return fitting[0]


def _beginning(sample: Sample) -> str:
    if sample.kind in ("json", "lines"):
        return f"got JSON with the members {named_columns(sorted(sample.columns))}"
    what = {"zip": "a ZIP archive", "empty": "an empty file"}.get(sample.kind)
    return f"got {what}" if what else f"got a table with the columns {named_columns(sorted(sample.columns))}"


def _known_forms() -> str:
    forms = "; ".join(f"{name}: {reader.form}" for name, reader in all_readers().items())
    return f"Known are {forms}. Convert the file to one of them, or name its format."


def _in_folder(folder: Path, form: str) -> tuple[list[Place], list[str]]:
    """Files of outcomes in a folder and below, and names of the others."""
    found: list[Place] = []
    others: list[Path] = []
    without = ""
    for path in _files_in(folder):
        reader = _reader_or_none(path, form)
        if reader is not None and not reader.without_outcomes:
            found.append(_place(path, reader))
        else:
            others.append(path)
            without = without or ("" if reader is None else reader.without_outcomes)
    if not found:
        seen = f"it holds {without}" if without else _known_forms()
        raise DataError(f"{folder}: not a known form of outcomes is in this folder or below; {seen}.")
    used = {place.path.with_name(name) for place in found for name in place.reader.beside}
    return found, [path.name for path in others if path not in used]


def _files_in(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not is_hidden(path, folder):
            yield path


def _reader_or_none(path: Path, form: str) -> OutcomesReader | None:
    try:
        sample = Sample.of(path)
    except DataError:
        return None
    readers = all_readers().values() if form == "auto" else [find_reader(form)]
    fitting = [reader for reader in readers if reader.recognizes(sample)]
    return next((reader for reader in fitting if reader.name == "log"), fitting[0] if fitting else None)


def _place(path: Path, reader: OutcomesReader) -> Place:
    return Place(path=path, reader=reader, run=reader.run_of(path))


def _task(place: Place) -> str:
    return "" if place.run is None else place.run.task


def _newest_runs(places: Sequence[Place]) -> tuple[list[Place], list[Place]]:
    """The newest run of each task and LLM, and the older ones."""
    runs: dict[object, list[Place]] = defaultdict(list)
    for place in dict.fromkeys(places):
        key = place.path if place.run is None else (place.reader.name, place.run.llm, place.run.task)
        runs[key].append(place)
    newest, older = [], []
    for of_task in runs.values():
        *before, last = sorted(of_task, key=lambda place: "" if place.run is None else place.run.began)
        if before and last.run is not None and before[-1].run is not None and before[-1].run.began == last.run.began:
            raise DataError(
                f"{last.path} and {before[-1].path} are two runs of the task {last.run.task!r}, and nothing says which "
                "is the newer one. Name the one to read, or put the other one elsewhere."
            )
        newest.append(last)
        older += before
    return newest, older
