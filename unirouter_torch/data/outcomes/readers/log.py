"""Our own log: a row for each answer."""

from collections.abc import Iterable
from pathlib import Path

from unirouter_torch.data.columns import plain_name, read_columns
from unirouter_torch.data.files import kind_of, read_head
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.batches import logged_answer
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample
from unirouter_torch.errors import DataError
from unirouter_torch.messages import whole_characters

_TEXTS = ("prompt_id", "prompt", "llm")
_NUMBERS = ("score", "input_tokens", "output_tokens", "cost")
_OF_OTHERS = {"custom_id", "doc_id", "spend", "response_cost", "input"}


class LogReader(OutcomesReader):
    """Rows with ``prompt_id`` or ``prompt``, and ``score``, or ``answer`` to be graded.

    Where known there are ``llm``, ``input_tokens``, ``output_tokens`` and ``cost`` [US dollars]. Other columns are
    ignored.
    """

    name = "log"
    form = "a table (CSV, JSON Lines, JSON, Parquet) with prompt_id or prompt, and score"

    def recognizes(self, sample: Sample) -> bool:
        """A table with a column of ours for prompts or scores, and none that another form has in its place."""
        if sample.kind not in ("csv", "json", "lines", "parquet") or "prompt.raw" in sample.paths:
            return False
        columns = {plain_name(name) for name in sample.columns}
        has_prompts, has_scores = bool(columns & {"prompt", "prompt_id"}), "score" in columns
        if has_prompts and has_scores:
            return True
        return (has_prompts or has_scores) and not sample.columns & _OF_OTHERS

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One outcome a row."""
        # here, as they import pyarrow, which takes 44 MB that other forms need not
        from unirouter_torch.data.checks import check_shape, number_column, optional_text_column, score_column
        from unirouter_torch.data.sources.log_file import read_log_columns

        table, place = read_log_columns(path, _TEXTS, _NUMBERS, pick.conversation), str(path)
        check_shape(table, place)
        texts = {name: optional_text_column(table, name, place, pick.conversation).to_pylist() for name in _TEXTS}
        answers = _answers(path) if "answer" in table.column_names else [(None, False)] * table.num_rows
        if not any(texts["prompt_id"]) and not any(texts["prompt"]):
            found = ", ".join(table.column_names)
            raise DataError(f"{place}: got the columns {found}, expected 'prompt_id' or 'prompt'. Add or rename one.")
        input_tokens, output_tokens, cost = (number_column(table, name, place).to_pylist() for name in _NUMBERS[1:])
        score: list[float | None] = [None] * table.num_rows
        if all(answer is None for answer, _ in answers) or "score" in table.column_names:
            score = score_column(table, place).to_pylist()
        if any(texts["llm"]) and None in texts["llm"]:
            row = texts["llm"].index(None) + 1
            raise DataError(f"{place}: column 'llm', row {row}: empty. Name the LLM in every row.")
        return [
            OutcomeRow(
                place=f"{place}, row {row + 1}",
                llm=texts["llm"][row],
                prompt_ids=_known(texts["prompt_id"][row]),
                texts=_known(texts["prompt"][row]),
                answer=answers[row][0],
                is_cut_off=answers[row][1],
                score=score[row],
                input_tokens=input_tokens[row],
                output_tokens=output_tokens[row],
                cost=cost[row],
            )
            for row in range(table.num_rows)
        ]


def _answers(path: Path) -> list[tuple[str | None, bool]]:
    """Answers, and whether each ends within the reasoning; an empty cell of CSV is no answer."""
    columns, _, _ = read_columns(path, ("answer",))
    values = columns["answer"] if isinstance(columns["answer"], list) else columns["answer"].to_pylist()
    is_csv = kind_of(read_head(path)) == "csv"
    found = [logged_answer(None if is_csv and not value.strip() else value) for value in values]
    return [(None if answer is None else whole_characters(answer), is_cut_off) for answer, is_cut_off in found]


def _known(value: str | None) -> tuple[str, ...]:
    return () if value is None else (value,)
