"""Shards of an archive: Parquet files of logged prompts, read and written batch by batch."""

import contextlib
import glob
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Float
from torch import Tensor

from unirouter_torch.errors import ConfigError, DataError
from unirouter_torch.messages import LAST_USER, prompt_text
from unirouter_torch.shapes import ErrorMatrix

ADDED_COLUMNS = ("llm", "estimated_error", "estimated_errors")
"""What an answered shard has beyond its own columns; the last one where all estimates are asked for."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What goes beside the prompts of one batch.

    Attributes:
        llm: Name of the chosen LLM of each prompt.
        estimated_error: Its estimated error, in [0, 1].
        estimated_errors: Those of all LLMs; None where they are not asked for.
    """

    llm: list[str]
    estimated_error: Float[Tensor, " prompt"]
    estimated_errors: ErrorMatrix | None


def find_shards(pattern: str) -> list[Path]:
    """The shards of an archive, by name.

    Args:
        pattern: A path with ``*``, ``?`` and ``**``, or a folder: all ``.parquet`` files in it.

    Raises:
        DataError: No file matches, or two have the same name.
    """
    if Path(pattern).is_dir():
        pattern = str(Path(glob.escape(pattern)) / "*.parquet")
    # Path.glob takes no absolute pattern
    shards = sorted(Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file())  # noqa: PTH207
    if not shards:
        raise DataError(f"input: no file matches {pattern!r}. Quote the pattern, and check it with ls.")
    ((name, count),) = Counter(shard.name for shard in shards).most_common(1)
    if count > 1:
        raise DataError(f"input: {name} is in {count} folders. Rename the shards, or route each folder alone.")
    return shards


def refuse_same_place(shards: list[Path], folder: Path) -> None:
    """Refuse to write answers over the shards.

    Raises:
        ConfigError: A shard lies in the folder.
    """
    for shard in shards:
        if shard.resolve().parent == folder.resolve():
            raise ConfigError(f"output: {folder} holds the shard {shard.name} itself. Choose another folder.")


def count_prompts(shard: Path, column: str, added: Sequence[str] = ()) -> int:
    """Number of prompts of a shard, from its footer alone.

    Args:
        shard: A Parquet file.
        column: The prompts' column.
        added: Columns that will be added, and must not be there yet.

    Raises:
        DataError: It is no Parquet file, has no such column, or has a column that would be added.
    """
    with _open(shard) as file:
        names, rows = file.schema_arrow.names, int(file.metadata.num_rows)
    if column not in names:
        raise DataError(f"{shard}: no column {column!r}; it has {', '.join(names)}. Name the column of the prompts.")
    taken = [name for name in added if name in names]
    if taken:
        raise DataError(f"{shard}: has a column {taken[0]!r} already, which is to be added. Rename it.")
    return rows


def answer_shard(
    shard: Path,
    target: Path,
    column: str,
    batch_size: int,
    answer: Callable[[list[str]], Answers],
    conversation: str = LAST_USER,
) -> None:
    """Write a shard again with the answers beside its prompts; the file appears whole or not at all.

    One batch is held at a time, next to what Parquet needs for one row group.

    Args:
        shard: What to read.
        target: What to write.
        column: The prompts' column.
        batch_size: Prompts at a time, at least 1.
        answer: From the prompts of a batch to their answers.
        conversation: The rule by which a conversation becomes its prompt.

    Raises:
        DataError: A prompt is missing, or is neither text nor a conversation.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        with _open(shard) as file:
            empty = file.schema_arrow.empty_table()
            with pq.ParquetWriter(partial, _with_answers(empty, answer([])).schema) as writer:
                row = 0
                for batch in file.iter_batches(batch_size):
                    rows = pa.Table.from_batches([batch])
                    writer.write_table(_with_answers(rows, answer(_prompts_of(rows, column, shard, row, conversation))))
                    row += len(rows)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _prompts_of(rows: pa.Table, column: str, shard: Path, first_row: int, conversation: str) -> list[str]:
    values = rows[column]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    if not is_text and not _holds_conversations(values.type):
        expected = "text, or lists of messages with role and content"
        raise DataError(f"{shard}: column {column!r} holds {values.type}, expected {expected}. Name another column.")
    if values.null_count:
        row = first_row + 1 + pc.index(pc.is_null(values), pa.scalar(True)).as_py()
        raise DataError(f"{shard}: row {row} of column {column!r} is null. Fill or remove such rows.")
    prompts = [prompt_text(value, conversation) for value in values.to_pylist()]
    for row, prompt in enumerate(prompts, start=first_row + 1):
        if prompt is None:
            raise DataError(f"{shard}: row {row} of column {column!r} holds no message. Fill or remove such rows.")
    return [prompt for prompt in prompts if prompt is not None]


def _holds_conversations(kind: pa.DataType) -> bool:
    """Whether a column is of lists of messages."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(is_list and pa.types.is_struct(kind.value_type) and kind.value_type.get_field_index("role") >= 0)


def _with_answers(rows: pa.Table, answers: Answers) -> pa.Table:
    # an empty list alone would not be text
    rows = rows.append_column("llm", pa.array(answers.llm, pa.string()))
    rows = rows.append_column("estimated_error", pa.array(answers.estimated_error.float().numpy()))
    if answers.estimated_errors is None:
        return rows
    estimated = answers.estimated_errors.float().contiguous().numpy()
    flat = pa.array(estimated.reshape(-1))
    return rows.append_column("estimated_errors", pa.FixedSizeListArray.from_arrays(flat, estimated.shape[1]))


@contextlib.contextmanager
def _open(shard: Path) -> Iterator[pq.ParquetFile]:
    try:
        file = pq.ParquetFile(shard)
    except pa.ArrowInvalid as error:
        raise DataError(f"{shard}: no Parquet file ({str(error).splitlines()[0]}). Mend or remove it.") from None
    with file:
        yield file
