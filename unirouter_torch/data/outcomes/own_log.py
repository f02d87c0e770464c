"""Our own log, CSV or JSON Lines: a row for each answer."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from unirouter_torch.data.checks import check_shape, number_column, optional_text_column, score_column
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.sources.log_file import parse_log
from unirouter_torch.errors import DataError, first_few


def read_own_log(path: Path, pick: Pick) -> list[OutcomeRow]:
    """Rows of a log with ``score``, ``prompt_id`` or ``prompt``, and where known the rest.

    That is ``llm``, ``input_tokens``, ``output_tokens`` and ``cost`` [US dollars]. Other columns are ignored.

    Raises:
        DataError: The file is missing or malformed, a column is missing or has a bad value, or the file tells of
            several LLMs and ``pick`` names none of them.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    table, place = parse_log(path), str(path)
    check_shape(table, place)
    score = score_column(table, place).to_pylist()
    texts = {name: optional_text_column(table, name, place).to_pylist() for name in ("prompt_id", "prompt", "llm")}
    if not any(texts["prompt_id"]) and not any(texts["prompt"]):
        found = ", ".join(table.column_names)
        raise DataError(f"{place}: got the columns {found}, expected 'prompt_id' or 'prompt'. Add or rename one.")
    numbers = {name: _numbers(table, name, place) for name in ("input_tokens", "output_tokens", "cost")}
    llm = _choose_llm(texts["llm"], pick.llm, place)
    return [
        OutcomeRow(
            place=f"{place}, row {row + 1}",
            prompt_ids=_known(texts["prompt_id"][row]),
            texts=_known(texts["prompt"][row]),
            score=score[row],
            **{name: values[row] for name, values in numbers.items()},
        )
        for row in range(table.num_rows)
        if texts["llm"][row] == llm
    ]


def _numbers(table: pa.Table, column: str, place: str) -> list[float | None]:
    numbers: list[float | None] = number_column(table, column, place).to_pylist()
    return numbers


def _known(value: Any) -> tuple[str, ...]:
    return () if value is None else (value,)


def _choose_llm(names: list[str | None], wanted: str | None, place: str) -> str | None:
    found = sorted({name for name in names if name is not None})
    if not found:
        return None
    if None in names:
        raise DataError(f"{place}: column 'llm', row {names.index(None) + 1}: empty. Name the LLM in every row.")
    if wanted in found:
        return wanted
    if wanted is None and len(found) == 1:
        return found[0]
    raise DataError(
        f"{place}: column 'llm': got {first_few(found)}, expected the one to read. Choose one of them with --llm."
    )
