"""LLMRouterBench: 13 flagship LLMs of 2025 with the billed cost of every answer (Li et al., 2026)."""

import json
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from unirouter_torch.data.public.columns import outcome_table, require_columns
from unirouter_torch.data.public.source import HubFiles, PublicTable, places_in
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError

_FILE = "bench-release.tar.gz"
_RECORD = ("index", "origin_query", "score", "cost", "completion_tokens")
_LLMS = frozenset(
    {
        "claude-sonnet-4",
        "deepseek-r1-0528",
        "deepseek-v3-0324",
        "deepseek-v3.1-terminus",
        "gemini-2.5-flash",
        "gemini-2.5-pro",
        "glm-4.6",
        "gpt-5",
        "gpt-5-chat",
        "intern-s1",
        "kimi-k2-0905",
        "qwen3-235b-a22b-2507",
        "qwen3-235b-a22b-thinking-2507",
    }
)
"""The pool of its performance-cost setting; its other LLMs have no costs."""


class _Answers(NamedTuple):
    """What one result file says: an entry for each prompt."""

    prompt_id: list[str]
    score: list[float]
    cost_usd: list[float | None]
    output_tokens: list[float | None]


def read(folder: Path) -> SourceTables:
    """Read the archive of JSON files ``bench-release/<dataset>/<split>/<LLM>/<time>.json`` without unpacking it.

    Of several files of one dataset, split and LLM the last by name counts. Prompts whose text is not the same for all
    LLMs are left out with a warning.

    Args:
        folder: Where the archive is.

    Returns:
        The prompts that one of the 13 LLMs with costs answered; the dataset becomes the source.

    Raises:
        DataError: The archive is damaged, or a file in it lacks a field.
    """
    archive = folder / _FILE
    texts: dict[str, str] = {}
    differing: set[str] = set()
    newest: dict[tuple[str, str, str], tuple[str, _Answers]] = {}
    for name, (dataset, split, llm), content in _result_files(archive):
        answers = _answers(content, f"{dataset}/{split}", f"{archive}, {name}", texts, differing)
        if name >= newest.get((dataset, split, llm), ("",))[0]:
            newest[dataset, split, llm] = (name, answers)
    if not newest:
        expected = "bench-release/<dataset>/<split>/<LLM>/<time>.json of at least one of them"
        raise DataError(f"{archive}: got no results of {', '.join(sorted(_LLMS))}; expected {expected}.")
    if differing:
        message = f"{len(differing)} of {len(texts)} prompts have not the same text for all LLMs and are left out."
        warnings.warn(f"{archive}: {message}", UserWarning, stacklevel=2)
    kept = [prompt_id for prompt_id in texts if prompt_id not in differing]
    outcomes = pa.concat_tables([_outcomes_of(llm, answers) for (*_, llm), (_, answers) in newest.items()])
    prompts = {
        "prompt_id": kept,
        "prompt": [texts[prompt_id] for prompt_id in kept],
        "source": [prompt_id.partition("/")[0] for prompt_id in kept],
    }
    return SourceTables(
        prompts=pa.table(prompts),
        models=pa.table({"model_id": sorted({llm for *_, llm in newest})}),
        outcomes=outcomes.filter(pc.is_in(outcomes["prompt_id"], value_set=pa.array(kept, pa.string()))),
        places=places_in(folder, _FILE),
    )


def _result_files(archive: Path) -> Iterator[tuple[str, tuple[str, str, str], dict[str, Any]]]:
    try:
        with tarfile.open(archive, "r:gz") as members:
            for member in members:
                parts = member.name.split("/")
                if member.isfile() and member.name.endswith(".json") and len(parts) == 5 and parts[3] in _LLMS:
                    stream = members.extractfile(member)
                    assert stream is not None, "a regular file has a content"
                    yield member.name, (parts[1], parts[2], parts[3]), json.load(stream)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"{archive}: expected a whole archive of JSON files ({error}). Download it again.") from error


def _answers(content: dict[str, Any], group: str, place: str, texts: dict[str, str], differing: set[str]) -> _Answers:
    """Collect the scored answers of one file; notes the prompts' texts, and which differ from what is noted."""
    require_columns(content, ("records",), place)
    columns: dict[str, list[Any]] = {name: [] for name in _Answers._fields}
    for record in content["records"]:
        require_columns(record, _RECORD, f"{place}, records")
        if record["score"] is None:
            continue
        prompt_id, text = f"{group}/{record['index']}", str(record["origin_query"])
        if texts.setdefault(prompt_id, text) != text:
            differing.add(prompt_id)
        row = (prompt_id, record["score"], record["cost"], record["completion_tokens"])
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    return _Answers(**columns)


def _outcomes_of(llm: str, answers: _Answers) -> pa.Table:
    return outcome_table(model_id=[llm] * len(answers.prompt_id), **answers._asdict())


TABLE = PublicTable(
    name="llmrouterbench",
    files=(_FILE,),
    origin=HubFiles(repository="NPULH/LLMRouterBench", revision="0e5af1b84bf73437a01a1849c0f1d2468baa93fc"),
    licence="none stated on the dataset card; the project page shows an MIT badge",
    read=read,
    sha256={_FILE: "b79f8cde1a6f029c2efa663a3a3b6f7748defb22341fe59f328cebef6648c8f1"},
    choices=(
        "Only the 13 LLMs of the performance-cost setting are read, on whatever data sets they have.",
        "The prompt is origin_query, without the instructions about the form of the answer.",
        "Of several result files of one LLM the last by name counts.",
    ),
)
"""LLMRouterBench as its authors publish it."""
