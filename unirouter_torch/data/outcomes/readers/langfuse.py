"""Exports of Langfuse: traces or observations with their inputs, outputs and scores."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unirouter_torch.data.files import JSONObject
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.batches import logged_answer
from unirouter_torch.data.outcomes.fields import (
    as_list,
    check_score,
    choose_metric,
    identifiers,
    number_or_none,
    parsed,
    prompt_texts,
    within,
)
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample
from unirouter_torch.data.outcomes.tables import read_rows
from unirouter_torch.messages import whole_characters

_MARKS = {"sessionId", "userId", "traceId", "projectId", "bookmarked", "observationCount", "usageDetails", "traceName"}
_MARKS |= {"session_id", "user_id", "trace_id", "project_id", "observations", "htmlPath", "parentObservationId"}
_MARKS |= {"totalCost", "total_cost", "calculatedTotalCost", "html_path", "providedModelName", "usage_details"}
_NO_SCORES = {"latency", "timeToFirstToken", "inputTokens", "outputTokens", "totalTokens", "inputCost", "outputCost"}
_NO_SCORES |= {"totalCost", "cost", "usage", "public", "bookmarked", "version", "promptVersion", "inputPrice"}
_NO_SCORES |= {"outputPrice", "totalPrice", "calculatedTotalCost", "observationCount", "input", "output", "tags"}
_NO_SCORES |= {"promptTokens", "completionTokens", "observations", "errorCount", "warningCount", "defaultCount"}
_USAGE = ("usageDetails", "usage_details", "usage")
_COSTS = ("totalCost", "calculatedTotalCost")


class LangfuseReader(OutcomesReader):
    """Rows with an input and an output; a metric is the name of a score.

    The scores may be a list, an object, or a column each. Without scores the outputs are answers to be graded.
    """

    name = "langfuse"
    form = "exports of Langfuse (CSV, JSON, JSON Lines)"

    def recognizes(self, sample: Sample) -> bool:
        """Inputs and outputs, with what Langfuse says of traces; a trace that was downloaded alone has a member."""
        if {"trace.input", "trace.output"} <= sample.paths:
            return True
        return {"input", "output"} <= sample.columns and bool(sample.columns & (_MARKS | {"scores"}))

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One outcome a row."""
        rows = [(place, row, _scores(row)) for place, row in map(_unwrapped, read_rows(path))]
        names = {name for _, _, scores in rows for name in scores}
        metric = choose_metric(names, pick, str(path)) if names else ""
        return [_row(place, row, scores.get(metric), metric, pick.conversation) for place, row, scores in rows]


def _unwrapped(placed: tuple[str, JSONObject]) -> tuple[str, JSONObject]:
    """A trace, also one that was downloaded alone, with the names of columns as the API has them."""
    place, row = placed
    if isinstance(row.get("trace"), dict):
        row = row["trace"] | {"observations": row.get("observations")}
    return place, {_camel(name): value for name, value in row.items()}


def _camel(name: str) -> str:
    """``usage_details`` of the package in Python as the API has it, ``usageDetails``; scores keep their names."""
    first, *others = name.split("_")
    camel = first + "".join(map(str.capitalize, others))
    return camel if camel in _MARKS | _NO_SCORES else name


def _row(place: str, row: JSONObject, score: float | None, metric: str, conversation: str) -> OutcomeRow:
    answer, is_cut_off = logged_answer(parsed(row.get("output")))
    calls = [one for one in as_list(row.get("observations")) if within(one, "model")]
    of_call = calls[0] if len(calls) == 1 else {}
    usage = next((found for one in (row, of_call) for name in _USAGE if (found := parsed(one.get(name)))), None)
    llm = row.get("model") or row.get("providedModelName") or of_call.get("model")
    cost = next((one[name] for one in (row, of_call) for name in _COSTS if one.get(name)), None)
    return OutcomeRow(
        place=place,
        llm=llm if isinstance(llm, str) else None,
        prompt_ids=identifiers(within(parsed(row.get("metadata")), "prompt_id")),
        texts=prompt_texts(row.get("input"), conversation=conversation),
        score=check_score(score, place, metric),
        answer=None if answer is None else whole_characters(answer),
        is_cut_off=is_cut_off,
        input_tokens=_first(usage, row, ("input", "promptTokens", "prompt_tokens"), "inputTokens"),
        output_tokens=_first(usage, row, ("output", "completionTokens", "completion_tokens"), "outputTokens"),
        cost=number_or_none(cost),
    )


def _first(usage: Any, row: JSONObject, names: tuple[str, ...], column: str) -> float | None:
    found = [number_or_none(within(usage, name)) for name in names] + [number_or_none(row.get(column))]
    return next((number for number in found if number is not None), None)


def _scores(row: JSONObject) -> dict[str, float]:
    """Scores that are numbers, by name; of several of one name the mean."""
    given = parsed(row.get("scores"))
    values: dict[str, list[Any]] = {}
    if isinstance(given, dict):
        values = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    elif given:
        for score in as_list(given):
            value = within(score, "value")
            text = within(score, "stringValue") or within(score, "string_value")
            values.setdefault(str(within(score, "name")), []).append(text if value is None else value)
    else:
        known = row.keys() - _NO_SCORES - _MARKS
        values = {name: as_list(parsed(row[name])) for name in known}
        if "score" in row:
            values["score"] = [row["score"]]
    numbers = {
        name: [number for one in found if (number := number_or_none(one)) is not None] for name, found in values.items()
    }
    return {name: sum(found) / len(found) for name, found in numbers.items() if found}
