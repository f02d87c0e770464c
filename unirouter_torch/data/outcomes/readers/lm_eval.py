"""Sample logs of lm-evaluation-harness, as ``--log_samples`` writes them, and its results, which hold no samples."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from unirouter_torch.data.files import JSONObject, read_records
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.fields import (
    as_list,
    check_score,
    choose_metric,
    identifiers,
    number_or_none,
    prompt_texts,
)
from unirouter_torch.data.outcomes.reader import OutcomesReader, Run, Sample

_NO_METRICS = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
_NO_METRICS |= {"doc_hash", "prompt_hash", "target_hash"}
_ID_FIELDS = ("prompt_id", "question_id", "task_id", "id")
_FILE = re.compile(r"(?:samples_)?(?P<task>.+?)(?:_(?P<began>\d{4}-\d\d-\d\dT[\d.:+-]+))?")


class LmEvalReader(OutcomesReader):
    """A file of samples for each task, or folders with such files.

    A metric is named as in the harness's results, with its filter: ``exact_match,strict-match``; the filter may be left
    out where there is one. A prompt may be the text that was sent, or any text of the document.
    """

    name = "lm_eval"
    form = "samples of lm-evaluation-harness (--log_samples)"

    def recognizes(self, sample: Sample) -> bool:
        """A line for each document, with what was asked and answered."""
        return {"doc_id", "doc"} <= sample.columns and bool({"arguments", "filtered_resps", "resps"} & sample.columns)

    def run_of(self, path: Path) -> Run:
        """The task and the time are in the name of the file, the LLM in that of the folder."""
        found = _FILE.fullmatch(path.name.partition(".jsonl")[0].partition(".json")[0])
        task, began = (found["task"], found["began"]) if found else (path.stem, None)
        return Run(path.parent.name if "__" in path.parent.name else None, task, began or "")

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One outcome a document."""
        samples = list(read_records(path))
        run = self.run_of(path)
        metric = choose_metric([name for _, sample in samples for name in _metrics(sample)], pick, str(path), run.task)
        name, _, filter_name = metric.partition(",")
        return [
            OutcomeRow(
                place=place,
                llm=run.llm,
                prompt_ids=_ids(sample.get("doc")),
                texts=tuple(_texts(sample, pick.conversation)),
                score=check_score(number_or_none(sample.get(name)), place, metric),
            )
            for place, sample in samples
            if _filter_of(sample) == filter_name
        ]


class LmEvalResultsReader(OutcomesReader):
    """The file of results that the harness writes beside the samples."""

    name = "lm_eval_results"
    form = "results of lm-evaluation-harness (results_*.json), which hold no samples"
    without_outcomes = (
        "results of lm-evaluation-harness, means over tasks without the samples. Run lm_eval with --log_samples and "
        "--output_path, and give the samples_*.jsonl files or their folder"
    )

    def recognizes(self, sample: Sample) -> bool:
        """Numbers by task, in a document without a list of results."""
        named = {"configs", "n-shot", "versions", "higher_is_better", "n-samples", "git_hash", "config"}
        nested = any(re.fullmatch(r"results\.[^\[\]]+?\.[^\[\]]+,[^\[\]]+", path) for path in sample.paths)
        return "results" in sample.columns and (nested or len(named & sample.columns) > 1) and not _is_list(sample)

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """Nothing, as there is nothing."""
        return ()


def _is_list(sample: Sample) -> bool:
    return any(path.startswith(("results[]", "results.results")) for path in sample.paths)


def _filter_of(sample: JSONObject) -> str:
    return str(sample.get("filter", "none"))


def _metrics(sample: JSONObject) -> list[str]:
    names = as_list(sample.get("metrics")) or [name for name in sample if name not in _NO_METRICS]
    return [f"{name},{_filter_of(sample)}" for name in names if number_or_none(sample.get(name)) is not None]


def _ids(doc: Any) -> tuple[str, ...]:
    return identifiers(*(doc.get(field) for field in _ID_FIELDS)) if isinstance(doc, dict) else ()


def _texts(sample: JSONObject, conversation: str) -> Iterator[str]:
    yield from prompt_texts(_first_argument(sample.get("arguments")), conversation=conversation)
    doc = sample.get("doc")
    yield from prompt_texts(*(doc.values() if isinstance(doc, dict) else [doc]), conversation=conversation)


def _first_argument(arguments: Any) -> Any:
    """The prompt that was sent: ``{"gen_args_0": {"arg_0": prompt}}``, or ``[[prompt, ...], ...]`` before 0.4.3."""
    for key in ("gen_args_0", "arg_0"):
        arguments = arguments.get(key) if isinstance(arguments, dict) else (as_list(arguments) or [None])[0]
    return arguments[0] if isinstance(arguments, list) and len(arguments) == 1 else arguments
