"""Rows of tables of other tools, whatever the file is written in."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from unirouter_torch.data.columns import read_columns
from unirouter_torch.data.files import JSONObject, kind_of, read_head, read_items, read_records
from unirouter_torch.data.outcomes.reader import Sample


def read_rows(path: Path, columns: Sequence[str] = ()) -> Iterator[tuple[str, JSONObject]]:
    """Rows with their places; of an object with a list ``data``, as services answer, the items of that list.

    Args:
        path: CSV, JSON Lines, JSON, or Parquet; it may be compressed.
        columns: Which to read, null in each row where there is none; all when not given.

    Raises:
        DataError: The file is damaged, or of another form.
    """
    kind = kind_of(read_head(path))
    if kind in ("csv", "parquet"):
        names = columns or sorted(Sample.of(path).columns)
        found, _, num_rows = read_columns(path, names)
        lists = {name: values if isinstance(values, list) else values.to_pylist() for name, values in found.items()}
        for row in range(num_rows):
            yield f"{path}, row {row + 1}", {name: lists[name][row] if name in lists else None for name in names}
        return
    is_wrapped = "data[]" in {name[:6] for name in Sample.of(path).paths}
    records = ((f"{path}, entry {n}", one) for n, one in enumerate(read_items(path, "data"), start=1))
    for place, record in records if is_wrapped else read_records(path):
        yield place, {name: record.get(name) for name in columns} if columns else record
