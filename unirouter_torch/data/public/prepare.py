"""From the files that the authors of a public table publish to a routing table on disk."""

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.compute as pc

from unirouter_torch.data.public import embedllm, headlines, llmrouterbench, mixinstruct, routerbench, sprout
from unirouter_torch.data.public.download import download
from unirouter_torch.data.public.source import HubFiles, PublicTable
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.sources.parquet_folder import write_parquet_folder
from unirouter_torch.data.table import build_table
from unirouter_torch.errors import DataError
from unirouter_torch.storage import atomic_folder, sha256_of_file, write_json

PUBLIC_TABLES = {
    module.TABLE.name: module.TABLE
    for module in (embedllm, routerbench, sprout, mixinstruct, headlines, llmrouterbench)
}
"""The public tables that can be prepared, by name."""
PROVENANCE_NAME = "provenance.json"
_KIND, _FORMAT_VERSION = "routing table", 1


class Prepared(NamedTuple):
    """What was written."""

    num_prompts: int
    """Prompts with an outcome."""
    num_llms: int
    """LLMs with an outcome."""
    num_outcomes: int
    """Observed pairs."""


def prepare_table(
    name: str,
    output: Path,
    *,
    from_files: Path | None = None,
    revision: str | None = None,
    unsafe_pickle: bool = False,
) -> Prepared:
    """Write a public table as a folder of Parquet files that ``data.path`` can name.

    ``provenance.json`` in the folder says where every file came from, with revision, licence and checksums.

    Args:
        name: One of ``PUBLIC_TABLES``.
        output: The folder to make.
        from_files: Folder with the files as published; they are downloaded when not given.
        revision: Commit, tag or branch to download in place of the pinned one.
        unsafe_pickle: Whether a file may be a pickle, a format that can carry code. Even then nothing is loaded but
            plain values and pandas tables.

    Returns:
        The size of the table.

    Raises:
        DataError: The name is unknown, the output exists, a file is missing, cannot be downloaded, differs from its
            published checksum, is a pickle without leave, or is not of the expected form.
    """
    if name not in PUBLIC_TABLES:
        raise DataError(f"public table: got {name!r}, expected one of {', '.join(PUBLIC_TABLES)}. Correct the name.")
    table = PUBLIC_TABLES[name]
    _check_request(table, output, from_files, revision, unsafe_pickle)
    if from_files is None:
        folder, origin = download(table, revision)
    else:
        folder, origin = from_files, {"from_files": True}
    files = _found_files(table, folder)
    tables = _without_blank_prompts(table.read(folder))
    checked = build_table(*tables[:3], name=name, places=tables.places, cost_rule="equal")
    size = Prepared(checked.num_prompts, checked.num_llms, int(checked.observed.sum()))
    with atomic_folder(output, _KIND, _FORMAT_VERSION) as temporary:
        write_parquet_folder(temporary, tables.prompts, tables.models, tables.outcomes)
        write_json(temporary / PROVENANCE_NAME, _provenance(table, origin, folder, files, size))
    return size


def _check_request(
    table: PublicTable, output: Path, from_files: Path | None, revision: str | None, unsafe_pickle: bool
) -> None:
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output}: exists already; expected a new folder. Choose another one, or remove it.")
    if revision is not None and (from_files is not None or not isinstance(table.origin, HubFiles)):
        raise DataError("revision: only files of the Hugging Face hub that are downloaded have one. Leave it out.")
    if table.holds_pickle and not unsafe_pickle:
        raise DataError(
            f"{table.name}: {table.files[0]} is published as a pickle, a format that can carry code. Only plain values "
            "and pandas tables would be loaded from it. Set unsafe_pickle if you accept that."
        )


def _found_files(table: PublicTable, folder: Path) -> list[Path]:
    files: list[Path] = []
    for pattern in table.files:
        found = sorted(folder.glob(pattern))
        if not found:
            expected = ", ".join(table.files)
            raise DataError(f"{folder / pattern}: no such file; {table.name} expects {expected}. Add it.")
        files += found
    return files


def _without_blank_prompts(tables: SourceTables) -> SourceTables:
    """Leave out prompts without text: nothing can be routed by them, and no user can fix published files."""
    prompts, outcomes = tables.prompts, tables.outcomes
    blank = pc.equal(pc.utf8_trim_whitespace(pc.fill_null(prompts["prompt"], "")), "")
    if not pc.any(blank).as_py():
        return tables
    message = f"{pc.sum(blank).as_py()} of {prompts.num_rows} prompts have no text and are left out."
    warnings.warn(f"{tables.places.prompts}: {message}", UserWarning, stacklevel=2)
    dropped = pc.is_in(outcomes["prompt_id"], value_set=prompts["prompt_id"].filter(blank).combine_chunks())
    return tables._replace(prompts=prompts.filter(pc.invert(blank)), outcomes=outcomes.filter(pc.invert(dropped)))


def _provenance(
    table: PublicTable, origin: dict[str, Any], folder: Path, files: list[Path], size: Prepared
) -> dict[str, Any]:
    checksums = {file.relative_to(folder).as_posix(): sha256_of_file(file) for file in files}
    return {
        "table": table.name,
        "prepared_by": f"unirouter_torch {version('unirouter_torch')}",
        "origin": origin,
        "licence": table.licence,
        "files": {
            name: {"sha256": checksum, "is_published_checksum": checksum == table.sha256.get(name)}
            for name, checksum in checksums.items()
        },
        "choices": list(table.choices),
        "size": size._asdict(),
    }
