"""Output of an OpenAI-style batch: one answer in a line, by the ``custom_id`` of its request, to be graded here."""

from pathlib import Path
from typing import Any

from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.json_files import (
    JSONObject,
    as_list,
    check_score,
    number_or_none,
    read_json_lines,
)
from unirouter_torch.errors import DataError


def read_openai_batch(path: Path, pick: Pick) -> list[OutcomeRow]:
    """Rows of the output of a batch whose ``custom_id`` is the prompt id.

    Requests may have gone to chat completions, responses or completions. One that failed, whose prompt has
    no reference, or that the grader cannot tell, is not graded.

    Raises:
        DataError: The file is missing or malformed, no way of grading is given, no prompt of it has a reference, or a
            grade is outside [0, 1].
    """
    if pick.grading is None:
        raise DataError(f"{path}: answers without scores. Grade them with --grader and --references.")
    lines = list(read_json_lines(path))
    rows = [_row(place, line, pick) for place, line in lines]
    if not any(row.prompt_ids[0] in pick.grading.references for row in rows):
        raise DataError(f"{path}: no custom_id has a reference; expected prompt ids. Check the references.")
    return rows


def _row(place: str, line: JSONObject, pick: Pick) -> OutcomeRow:
    prompt_id, grading = line.get("custom_id"), pick.grading
    if not isinstance(prompt_id, str):
        raise DataError(f"{place}: no 'custom_id', expected a line of a batch's output. Check the format of the file.")
    response = line.get("response") or {}
    failed = line.get("error") is not None or response.get("status_code", 200) != 200
    body = {} if failed else response.get("body") or {}
    answer, usage, score = _answer(body), body.get("usage") or {}, None
    if grading is not None and answer is not None and prompt_id in grading.references:
        score = check_score(grading.grader(answer, grading.references[prompt_id]), place, "the grade")
    return OutcomeRow(
        place=place,
        prompt_ids=(prompt_id,),
        score=score,
        input_tokens=number_or_none(usage.get("prompt_tokens", usage.get("input_tokens"))),
        output_tokens=number_or_none(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def _answer(body: JSONObject) -> str | None:
    """The text of an answer, empty where the LLM said nothing; None where there is no answer."""
    for choice in as_list(body.get("choices"))[:1]:
        return _text(choice["message"].get("content") if "message" in choice else choice.get("text"))
    said = [part for part in as_list(body.get("output")) if part.get("type") == "message"]
    return "".join(_text(part.get("content")) for part in said) if said else None


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in as_list(content))
