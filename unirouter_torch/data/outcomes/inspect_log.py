"""Logs of Inspect: one JSON file, or an ``.eval`` file, which is a ZIP archive with a JSON file for each sample."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.json_files import (
    JSONObject,
    as_list,
    as_object,
    check_score,
    choose_metric,
    identifiers,
    number_or_none,
    parse_json,
    read_json_file,
)
from unirouter_torch.errors import DataError

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_HEADERS = ("header.json", "_journal/start.json", "start.json")
_CONVERT = "Convert it: inspect log convert --to json --output-dir DIR FILE."
_INPUT_TOKENS = ("input_tokens", "input_tokens_cache_write", "input_tokens_cache_read")


def read_inspect(path: Path, pick: Pick) -> list[OutcomeRow]:
    """Rows of an Inspect log; a sample of several epochs gives several rows.

    A metric is the name of a scorer, or ``scorer/key`` where its value is an object. C, P, I and N count as 1, 0.5, 0
    and 0, and numbers as they are. A prompt may be the input of the sample, or the first message of the user.

    Raises:
        DataError: The file is missing, damaged, or no Inspect log, or the metric has to be chosen.
    """
    model, samples = _read_archive(path) if path.suffix == ".eval" else _read_json_log(path)
    metric = choose_metric([name for _, sample in samples for name in _scores(sample)], pick.metric, str(path))
    return [_row(place, sample, metric, model) for place, sample in samples]


def _row(place: str, sample: JSONObject, metric: str, model: str | None) -> OutcomeRow:
    usage = sample.get("model_usage") or {}
    counted = usage.get(model) or (next(iter(usage.values())) if len(usage) == 1 else {})
    inputs = [counted[name] for name in _INPUT_TOKENS if counted.get(name) is not None]
    return OutcomeRow(
        place=place,
        prompt_ids=identifiers(sample.get("id")),
        texts=tuple(_texts(sample)),
        score=check_score(_scores(sample).get(metric), place, metric),
        input_tokens=number_or_none(sum(inputs)) if inputs else None,
        output_tokens=number_or_none(counted.get("output_tokens")),
        cost=number_or_none(counted.get("total_cost")),
    )


def _read_json_log(path: Path) -> tuple[str | None, list[tuple[str, JSONObject]]]:
    log = as_object(read_json_file(path), str(path))
    samples = as_list(log.get("samples"))
    if not samples:
        raise DataError(f"{path}: got no samples, expected an Inspect log with them. Run inspect with --log-samples.")
    places = [f"{path}, sample {number}" for number in range(1, len(samples) + 1)]
    return _model_of(log), [(place, as_object(sample, place)) for place, sample in zip(places, samples, strict=True)]


def _read_archive(path: Path) -> tuple[str | None, list[tuple[str, JSONObject]]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
            headers = [name for name in _HEADERS if name in archive.namelist()]
            content = {f"{path}, {name}": archive.read(name) for name in (*headers[:1], *names)}
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise DataError(f"{path}: expected a whole .eval file ({error}). {_CONVERT}") from None
    if not names:
        raise DataError(f"{path}: got no samples/*.json in it, expected one for each sample. {_CONVERT}")
    parts = [(place, as_object(parse_json(part, place), place)) for place, part in content.items()]
    return (_model_of(parts[0][1]), parts[1:]) if headers else (None, parts)


def _model_of(log: JSONObject) -> str | None:
    spec = log.get("eval")
    return spec.get("model") if isinstance(spec, dict) else None


def _scores(sample: JSONObject) -> dict[str, float]:
    """Scores that are numbers, by metric; none of a sample that ended in an error."""
    found: dict[str, float] = {}
    for scorer, score in (sample.get("scores") or {}).items():
        value = score.get("value") if isinstance(score, dict) else None
        parts = {f"{scorer}/{key}": part for key, part in value.items()} if isinstance(value, dict) else {scorer: value}
        found |= {name: number for name, part in parts.items() if (number := _number(part)) is not None}
    return found


def _number(value: Any) -> float | None:
    if not isinstance(value, str):
        return number_or_none(value)
    known = _GRADES.get(value, _WORDS.get(value.lower()))
    if known is not None:
        return known
    try:
        return number_or_none(float(value))
    except ValueError:
        return None


def _texts(sample: JSONObject) -> Iterator[str]:
    given = sample.get("input")
    if isinstance(given, str):
        yield given
    for messages in (given, sample.get("messages")):
        said = [message for message in as_list(messages) if message.get("role") == "user"]
        for message in said[:1]:
            yield _content(message.get("content"))


def _content(content: Any) -> str:
    parts = as_list(content)
    return content if isinstance(content, str) else "\n".join(part.get("text") or "" for part in parts)
