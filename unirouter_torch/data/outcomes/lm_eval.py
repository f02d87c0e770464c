"""Sample logs of lm-evaluation-harness, as ``--log_samples`` writes them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.json_files import (
    JSONObject,
    as_list,
    check_score,
    choose_metric,
    identifiers,
    number_or_none,
    read_json_lines,
)
from unirouter_torch.errors import DataError

PATTERN = "samples_*.jsonl"

_NO_METRICS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_NO_METRICS |= {"doc_hash", "prompt_hash", "target_hash"}
_ID_FIELDS = ("prompt_id", "question_id", "task_id", "id")


def read_lm_eval(path: Path, pick: Pick) -> list[OutcomeRow]:
    """Rows of one file of samples, or of all those in a folder.

    A metric is named as in the harness's results, with its filter: ``exact_match,strict-match``; the filter may be left
    out where there is one. A prompt may be the text that was sent, or any text of the document.

    Raises:
        DataError: There is no such file, it is malformed, or the metric has to be chosen.
    """
    files = sorted(path.glob(PATTERN)) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no {PATTERN} in this folder. Run lm_eval with --log_samples and --output_path.")
    samples = [sample for file in files for sample in read_json_lines(file)]
    metric = choose_metric([name for _, sample in samples for name in _metrics(sample)], pick.metric, str(path))
    name, _, filter_name = metric.partition(",")
    return [
        OutcomeRow(
            place=place,
            prompt_ids=_ids(sample.get("doc")),
            texts=tuple(_texts(sample)),
            score=check_score(number_or_none(sample.get(name)), place, metric),
        )
        for place, sample in samples
        if _filter_of(sample) == filter_name
    ]


def _filter_of(sample: JSONObject) -> str:
    return str(sample.get("filter", "none"))


def _metrics(sample: JSONObject) -> list[str]:
    names = as_list(sample.get("metrics")) or [name for name in sample if name not in _NO_METRICS]
    return [f"{name},{_filter_of(sample)}" for name in names if number_or_none(sample.get(name)) is not None]


def _ids(doc: Any) -> tuple[str, ...]:
    return identifiers(*(doc.get(field) for field in _ID_FIELDS)) if isinstance(doc, dict) else ()


def _texts(sample: JSONObject) -> Iterator[str]:
    yield from _sent(_first_argument(sample.get("arguments")))
    doc = sample.get("doc")
    values = doc.values() if isinstance(doc, dict) else [doc]
    yield from (value for value in values if isinstance(value, str) and value.strip())


def _first_argument(arguments: Any) -> Any:
    """The prompt that was sent: ``{"gen_args_0": {"arg_0": prompt}}``, or ``[[prompt, ...], ...]`` before 0.4.3."""
    for key in ("gen_args_0", "arg_0"):
        arguments = arguments.get(key) if isinstance(arguments, dict) else (as_list(arguments) or [None])[0]
    return arguments


def _sent(prompt: Any) -> Iterator[str]:
    """A prompt; if it is a chat in JSON, its last message of the user before that."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        return
    if prompt.lstrip().startswith("[{"):
        with contextlib.suppress(json.JSONDecodeError):
            said = [message.get("content") for message in json.loads(prompt) if message.get("role") == "user"]
            yield from (text for text in said[-1:] if isinstance(text, str))
    yield prompt
