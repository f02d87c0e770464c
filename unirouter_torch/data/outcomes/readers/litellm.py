"""Logs of LiteLLM: a row for each request, with its prompt and answer where the proxy was told to keep them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unirouter_torch.data.cells import as_number
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.batches import logged_answer
from unirouter_torch.data.outcomes.fields import check_score, number_or_none, parsed, prompt_texts
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample
from unirouter_torch.data.outcomes.tables import read_rows
from unirouter_torch.errors import DataError
from unirouter_torch.messages import whole_characters

_COLUMNS = (
    "model",
    "model_group",
    "spend",
    "response_cost",
    "prompt_tokens",
    "completion_tokens",
    "messages",
    "response",
    "score",
    "proxy_server_request",
    "status",
)


class LiteLLMReader(OutcomesReader):
    """Requests that are not graded: a grader and references grade them, or a column ``score`` that you added."""

    name = "litellm"
    form = "spend logs of LiteLLM, or what its loggers write"

    def recognizes(self, sample: Sample) -> bool:
        """What was spent, by request: in its data base, or as its loggers write it."""
        spent = {"spend", "response_cost"} & sample.columns
        return bool(spent) and bool({"request_id", "call_type", "total_tokens"} & sample.columns)

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One answer a request."""
        rows = list(_rows(path, pick.conversation))
        if not any(row.texts for row in rows):
            raise DataError(
                f"{path}: spend logs of LiteLLM without prompts. Set store_prompts_in_spend_logs: true in the proxy's "
                "general_settings, and export the logs of the requests that follow."
            )
        return rows


def _rows(path: Path, conversation: str) -> Iterator[OutcomeRow]:
    for place, row in read_rows(path, _COLUMNS):
        answer, is_cut_off = _answer(parsed(row["response"]))
        yield OutcomeRow(
            place=place,
            llm=_name(row["model_group"]) or _name(row["model"]),
            texts=prompt_texts(row["messages"], row["proxy_server_request"], conversation=conversation),
            score=check_score(number_or_none(row["score"]), place, "score"),
            answer=None if answer is None or row["status"] == "failure" else whole_characters(answer),
            is_cut_off=is_cut_off,
            input_tokens=as_number(row["prompt_tokens"]),
            output_tokens=as_number(row["completion_tokens"]),
            cost=number_or_none(row["response_cost"] if row["spend"] is None else row["spend"]),
        )


def _answer(response: Any) -> tuple[str | None, bool]:
    return (None, False) if response in ("", {}) else logged_answer(response)


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
