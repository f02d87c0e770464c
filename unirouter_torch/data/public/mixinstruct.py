"""MixInstruct: answers of 11 open LLMs to instructions, graded by BARTScore (Jiang et al., LLM-Blender, ACL 2023)."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from unirouter_torch.data.public.columns import outcome_table, require_columns
from unirouter_torch.data.public.source import HubFiles, PublicTable, places_in
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError

_FILES = ("train_data_prepared.jsonl", "val_data_prepared.jsonl", "test_data_prepared.jsonl")
_FIELDS = ("id", "instruction", "input", "candidates")
_METRIC = "bartscore"
_SIZES = {
    "alpaca-native": 7.0,
    "chatglm-6b": 6.0,
    "dolly-v2-12b": 12.0,
    "flan-t5-xxl": 11.0,
    "koala-7B-HF": 7.0,
    "llama-7b-hf-baize-lora-bf16": 7.0,
    "moss-moon-003-sft": 16.0,
    "mpt-7b": 7.0,
    "mpt-7b-instruct": 7.0,
    "oasst-sft-4-pythia-12b-epoch-3.5": 12.0,
    "stablelm-tuned-alpha-7b": 7.0,
    "vicuna-13b-1.1": 13.0,
}
"""Billion parameters, as the LLMs' publishers round them."""


def read(folder: Path) -> SourceTables:
    """Read the three JSON Lines files, one object for each prompt with all its answers.

    ``score = exp(BARTScore)``: BARTScore is a mean log probability, so that this lies in (0, 1].

    Args:
        folder: Where the files are.

    Returns:
        All prompts, named by file and line: instruction and input, joined by a line break. The part of ``id`` before
        the slash becomes the source. LLMs of unknown size have none.

    Raises:
        DataError: A line is no object with the expected fields, or holds no number where one belongs.
    """
    prompts: dict[str, list[object]] = {"prompt_id": [], "prompt": [], "source": []}
    pairs: dict[str, list[object]] = {"prompt_id": [], "model_id": [], "score": [], "output_chars": []}
    for file in (folder / name for name in _FILES):
        split = file.name.partition("_")[0]
        for number, (place, record) in enumerate(_records(file), start=1):
            prompt_id = f"{split}/{number}"
            text = "\n".join(part for part in (record["instruction"], record["input"]) if part)
            _append(prompts, prompt_id, text, str(record["id"]).partition("/")[0])
            for answer in record["candidates"]:
                _append_answer(pairs, prompt_id, answer, place)
    llms = sorted({str(llm) for llm in pairs["model_id"]})
    sizes = pa.array([_SIZES.get(llm) for llm in llms], pa.float64())
    return SourceTables(
        prompts=pa.table(prompts),
        models=pa.table({"model_id": llms, "params_b": sizes}),
        outcomes=outcome_table(**pairs),
        places=places_in(folder, ", ".join(_FILES)),
    )


def _records(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            place = f"{file}, line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(f"{place}: expected one JSON object ({error}). Download the file again.") from None
            require_columns(record if isinstance(record, dict) else (), _FIELDS, place)
            yield place, record


def _append_answer(pairs: dict[str, list[object]], prompt_id: str, answer: dict[str, Any], place: str) -> None:
    require_columns(answer, ("model", "text", "scores"), f"{place}, candidates")
    require_columns(answer["scores"], (_METRIC,), f"{place}, scores of {answer['model']}")
    value = answer["scores"][_METRIC]
    if value is None:
        return
    if not isinstance(value, int | float) or not value <= 0:
        raise DataError(f"{place}: {_METRIC} of {answer['model']}: got {value!r}, expected a number of at most 0.")
    _append(pairs, prompt_id, answer["model"], math.exp(value), len(answer["text"]))


def _append(columns: dict[str, list[object]], *values: object) -> None:
    for column, value in zip(columns.values(), values, strict=True):
        column.append(value)


TABLE = PublicTable(
    name="mixinstruct",
    files=_FILES,
    origin=HubFiles(repository="llm-blender/mix-instruct", revision="c7f77a4ef0515a99d1752c6387c22366d6922da6"),
    licence="MIT, as stated on the dataset card; the prompts come from other data sets with terms of their own",
    read=read,
    choices=(
        "The score is exp(BARTScore).",
        "The source has no sizes: params_b comes from a list in the reader.",
        "A prompt is instruction and input, joined by a line break; prompts are named by file and line.",
    ),
)
"""MixInstruct as its authors publish it."""
