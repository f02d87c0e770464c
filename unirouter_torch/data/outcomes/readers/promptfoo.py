"""Results of promptfoo: a JSON document, or a result in each line."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from unirouter_torch.data.files import JSONObject, as_object, read_items, read_records
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.fields import (
    check_score,
    choose_metric,
    identifiers,
    number_or_none,
    prompt_texts,
    within,
)
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample
from unirouter_torch.errors import DataError
from unirouter_torch.messages import whole_characters

_ERROR = 2
"""``failureReason`` of an answer that was never had."""


class PromptfooReader(OutcomesReader):
    """One outcome for each test, prompt and provider.

    The score is ``score``, or a named score by ``--metric``. A prompt may be what was sent, or the text of a variable.
    A test that ended in an error is not graded.
    """

    name = "promptfoo"
    form = "results of promptfoo (JSON)"

    def recognizes(self, sample: Sample) -> bool:
        """Results with the prompt as it was sent and as it is labelled."""
        return any(
            path in sample.paths for path in ("prompt.raw", *(f"{'.'.join(m)}[].prompt.raw" for m in _WHERE))
        ) or ({"evalId", "results"} <= sample.columns)

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One outcome a result."""
        results = list(_results(path))
        metric = "score"
        if pick.metrics:
            names = [name for _, one in results for name in ("score", *(one.get("namedScores") or {}))]
            metric = choose_metric(names, pick, str(path))
        return [_row(place, one, metric, pick.conversation) for place, one in results]


_WHERE = (("results", "results"), ("results",))


def _results(path: Path) -> Iterator[tuple[str, JSONObject]]:
    sample = Sample.of(path)
    if "prompt.raw" in sample.paths:
        for place, one in read_records(path):
            yield place, _kept(one)
        return
    members = _WHERE[0] if "results.results" in sample.paths or "evalId" in sample.columns else _WHERE[1]
    for number, one in enumerate(read_items(path, *members), start=1):
        yield (place := f"{path}, result {number}"), _kept(as_object(one, place))


def _kept(result: JSONObject) -> JSONObject:
    """What is used of a result, which may hold long conversations."""
    names = (
        "prompt",
        "vars",
        "provider",
        "score",
        "success",
        "namedScores",
        "failureReason",
        "error",
        "cost",
        "gradingResult",
    )
    kept = {name: result.get(name) for name in names}
    response = {name: within(result, "response", name) for name in ("output", "tokenUsage", "cost")}
    return kept | {"response": response, "metadata": within(result, "testCase", "metadata")}


def _row(place: str, result: JSONObject, metric: str, conversation: str) -> OutcomeRow:
    if not isinstance(result["prompt"], dict):
        raise DataError(f"{place}: got no prompt, expected a result of promptfoo. Check the form of the file.")
    variables = result["vars"] if isinstance(result["vars"], dict) else {}
    # older versions give no reason, and call what an assertion found an error, too
    was_answered = isinstance(result["gradingResult"], dict) or within(result, "response", "output") is not None
    failed = result["failureReason"] == _ERROR
    failed = failed or (result["failureReason"] is None and bool(result["error"]) and not was_answered)
    found = result["score"] if metric == "score" else within(result, "namedScores", metric)
    if found is None and metric == "score":
        found = result["success"]
    output = within(result, "response", "output")
    if isinstance(output, dict | list):  # a provider that answers in JSON
        output = json.dumps(output, ensure_ascii=False)
    cost = result["cost"] if result["cost"] is not None else within(result, "response", "cost")
    return OutcomeRow(
        place=place,
        llm=_llm(result["provider"]),
        prompt_ids=identifiers(variables.get("prompt_id"), within(result, "metadata", "prompt_id")),
        texts=prompt_texts(within(result, "prompt", "raw"), *variables.values(), conversation=conversation),
        score=None if failed else check_score(number_or_none(found), place, metric),
        answer=whole_characters(output) if isinstance(output, str) and not failed else None,
        input_tokens=number_or_none(within(result, "response", "tokenUsage", "prompt")),
        output_tokens=number_or_none(within(result, "response", "tokenUsage", "completion")),
        cost=number_or_none(cost),
    )


def _llm(provider: object) -> str | None:
    name = (within(provider, "label") or within(provider, "id")) if isinstance(provider, dict) else provider
    return name if isinstance(name, str) and name else None
