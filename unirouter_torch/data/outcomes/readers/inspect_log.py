"""Logs of Inspect: one JSON file, or an ``.eval`` file, which is a ZIP archive with a JSON file for each sample."""

import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unirouter_torch.data.files import JSONObject, as_object, kind_of, open_bytes, parse_json, read_head, read_items
from unirouter_torch.data.json_stream import JSONStream
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.fields import (
    as_list,
    check_score,
    choose_metric,
    identifiers,
    number_or_none,
    prompt_texts,
    sum_known,
    within,
)
from unirouter_torch.data.outcomes.reader import OutcomesReader, Run, Sample
from unirouter_torch.errors import DataError
from unirouter_torch.messages import content_text

_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_HEADERS = ("header.json", "_journal/start.json", "start.json")
_CONVERT = "Convert it: inspect log convert --to json --output-dir DIR FILE."
_INPUT_TOKENS = ("input_tokens", "input_tokens_cache_write", "input_tokens_cache_read")


class _Kept(NamedTuple):
    """What is kept of a sample, which may hold megabytes of events."""

    place: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    scores: dict[str, float]
    usage: JSONObject


class InspectReader(OutcomesReader):
    """An Inspect log; a sample of several epochs gives several rows. One sample is held at a time.

    A metric is the name of a scorer, or ``scorer/key`` where its value is an object. C, P, I and N count as 1, 0.5, 0
    and 0, and numbers as they are. A prompt may be the input of the sample, or the first message of the user.
    """

    name = "inspect"
    form = "logs of Inspect (.eval, or JSON)"

    def recognizes(self, sample: Sample) -> bool:
        """An archive of samples, or a document of an evaluation; a damaged archive by its ending alone."""
        archive = any(name.startswith("samples/") or name in _HEADERS for name in sample.files)
        document = {"eval", "status"} <= sample.columns or "samples[].scores" in sample.paths
        return archive or document or sample.path.suffix == ".eval"

    def run_of(self, path: Path) -> Run:
        """As the log says it of itself; a run that succeeded counts as newer than one that did not."""
        header = _header(path)
        spec = header.get("eval")
        task, created = (str(within(spec, name) or "") for name in ("task", "created"))
        arguments = within(spec, "task_args")
        began = f"{header.get('status') == 'success':d} {created}" if created else ""
        return Run(within(spec, "model"), f"{task} {json.dumps(arguments)}" if arguments else task, began)

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One outcome for each sample and epoch."""
        spec = _header(path).get("eval")
        llm, task = within(spec, "model"), str(within(spec, "task") or "")
        samples = _archived_samples(path) if _is_archive(path) else _samples(path)
        kept = [
            _Kept(place, identifiers(sample.get("id")), _texts(sample), _scores(sample), _usage(sample, llm))
            for place, sample in samples
        ]
        if not kept:
            raise DataError(
                f"{path}: got no samples, expected an Inspect log with them. Run inspect with --log-samples."
            )
        metric = choose_metric([name for sample in kept for name in sample.scores], pick, str(path), task)
        return [_row(sample, metric, llm) for sample in kept]


def _row(sample: _Kept, metric: str, llm: str | None) -> OutcomeRow:
    return OutcomeRow(
        place=sample.place,
        llm=llm,
        prompt_ids=sample.ids,
        texts=sample.texts,
        score=check_score(sample.scores.get(metric), sample.place, metric),
        input_tokens=sum_known([number_or_none(sample.usage.get(name)) for name in _INPUT_TOKENS]),
        output_tokens=number_or_none(sample.usage.get("output_tokens")),
        cost=number_or_none(sample.usage.get("total_cost")),
    )


def _is_archive(path: Path) -> bool:
    return kind_of(read_head(path)) == "zip" or path.suffix == ".eval"


def _header(path: Path) -> JSONObject:
    """What the log says of the evaluation."""
    if _is_archive(path):
        with _opened(path) as archive:
            names = [name for name in _HEADERS if name in archive.namelist()]
            return _parsed(archive, names[0], path) if names else {}
    with open_bytes(path) as file:
        try:
            return JSONStream(file).members_before("samples")
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: expected JSON in UTF-8 ({error}). Write or copy the file again.") from None


def _samples(path: Path) -> Iterator[tuple[str, JSONObject]]:
    try:
        for number, sample in enumerate(read_items(path, "samples"), start=1):
            yield (place := f"{path}, sample {number}"), as_object(sample, place)
    except DataError as error:
        if "no member 'samples'" in str(error):
            return
        raise


def _archived_samples(path: Path) -> Iterator[tuple[str, JSONObject]]:
    with _opened(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
        if not names:
            raise DataError(f"{path}: got no samples/*.json in it, expected one for each sample. {_CONVERT}")
        for name in names:
            yield f"{path}, {name}", _parsed(archive, name, path)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: expected a whole .eval file ({error}). {_CONVERT}") from None


def _parsed(archive: zipfile.ZipFile, name: str, path: Path) -> JSONObject:
    place = f"{path}, {name}"
    try:
        return as_object(parse_json(archive.read(name), place), place)
    except (zipfile.BadZipFile, NotImplementedError, OSError) as error:
        raise DataError(f"{path}: expected a whole .eval file ({error}). {_CONVERT}") from None


def _usage(sample: JSONObject, llm: str | None) -> JSONObject:
    usage = sample.get("model_usage") or {}
    found: JSONObject = usage.get(llm) or (next(iter(usage.values())) if len(usage) == 1 else {})
    return found


def _scores(sample: JSONObject) -> dict[str, float]:
    """Scores that are numbers, by metric; none of a sample that ended in an error."""
    found: dict[str, float] = {}
    for scorer, score in (sample.get("scores") or {}).items():
        value = score.get("value") if isinstance(score, dict) else None
        parts = {f"{scorer}/{key}": part for key, part in value.items()} if isinstance(value, dict) else {scorer: value}
        found |= {name: number for name, part in parts.items() if (number := _number(part)) is not None}
    return found


def _number(value: Any) -> float | None:
    return _GRADES.get(value, number_or_none(value)) if isinstance(value, str) else number_or_none(value)


def _texts(sample: JSONObject) -> tuple[str, ...]:
    given = sample.get("input")
    said = []
    for messages in (given, sample.get("messages")):
        of_user = [message for message in as_list(messages) if message.get("role") == "user"]
        said += [content_text(message.get("content")) for message in of_user[:1]]
    return prompt_texts(given if isinstance(given, str) else None, *said)
