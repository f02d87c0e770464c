"""A folder with ``prompts.parquet``, ``models.parquet`` and ``outcomes.parquet``."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.table import TablePlaces
from unirouter_torch.errors import DataError
from unirouter_torch.storage import write_atomically


def read_parquet_folder(folder: Path) -> SourceTables:
    """Read the three Parquet files of a folder.

    Args:
        folder: The folder.

    Returns:
        The tables as they are in the files.

    Raises:
        DataError: A file is missing or is no whole Parquet file.
    """
    places = TablePlaces(*(str(folder / f"{part}.parquet") for part in TablePlaces._fields))
    prompts, models, outcomes = (_read(Path(place)) for place in places)
    return SourceTables(prompts, models, outcomes, places)


def write_parquet_folder(folder: Path, prompts: pa.Table, models: pa.Table, outcomes: pa.Table) -> None:
    """Write the three Parquet files of a folder, each atomically.

    Args:
        folder: Where to; made where missing.
        prompts: Columns as in :func:`~unirouter_torch.data.table.build_table`.
        models: Likewise.
        outcomes: Likewise.
    """
    for part, table in zip(TablePlaces._fields, (prompts, models, outcomes), strict=True):
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="zstd")
        write_atomically(folder / f"{part}.parquet", buffer.getvalue().to_pybytes())


def _read(file: Path) -> pa.Table:
    if not file.is_file():
        expected = ", ".join(f"{part}.parquet" for part in TablePlaces._fields)
        raise DataError(f"{file}: no such file; a folder of data expects {expected}. Add it, or correct the path.")
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: expected a whole Parquet file ({error}). Write or copy it again.") from None
