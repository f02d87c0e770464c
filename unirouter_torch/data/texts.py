"""Prompts without outcomes, from whatever holds prompts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from unirouter_torch.data.load import load_table
from unirouter_torch.errors import DataError


def read_texts(path: str) -> list[str]:
    """The prompts of a file or table.

    Args:
        path: A ``.txt`` file with one prompt in a line, a ``.parquet`` file with a column ``prompt``, or a routing
            table in any form that ``data.path`` takes.

    Raises:
        DataError: The path holds no prompts, or is damaged.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() not in (".txt", ".parquet"):
        return load_table(path, cost_rule="equal").prompt_texts
    try:
        if file.suffix.lower() == ".txt":
            texts = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        else:
            texts = pq.read_table(file, columns=["prompt"])["prompt"].drop_null().to_pylist()
    except (OSError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path}: cannot be read as prompts ({error}). Expected one prompt in a line, in UTF-8, or Parquet with a "
            "column prompt of strings."
        ) from None
    texts = [text for text in texts if text]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{path}: holds no prompts. Expected one in a line, or a column prompt of strings.")
    return texts
