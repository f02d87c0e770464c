"""EmbedLLM: 112 open LLMs, right or wrong on ten benchmarks (Zhuang et al., ICLR 2025)."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from unirouter_torch.data.checks import refuse_repeats
from unirouter_torch.data.public.columns import outcome_table, require_columns
from unirouter_torch.data.public.source import HubFiles, PublicTable, places_in
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError

_FILES = ("train.csv", "val.csv", "test.csv")
_COLUMNS = {
    "prompt_id": pa.string(),
    "model_name": pa.string(),
    "category": pa.string(),
    "label": pa.float64(),
    "prompt": pa.string(),
}
_BLOCK = 32 * 2**20
"""Bytes read at once; longer than any row."""
_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z\d.])(\d+(?:\.\d+)?)b(?![A-Za-z]|\d)", re.IGNORECASE)
_SIZES = {
    "AdaptLLM__medicine-LLM": 7.0,
    "AdaptLLM__medicine-chat": 7.0,
    "Biomimicry-AI__ANIMA-Nectar-v2": 7.0,
    "CultriX__NeuralTrix-bf16": 7.0,
    "JaeyeonKang__CCK_Asura_v1": 69.0,
    "Plaban81__Moe-4x7b-math-reason-code": 24.2,
    "abhishek__zephyr-beta-math": 7.0,
    "bigcode__octocoder": 15.5,
    "bigscience__bloom-7b1": 7.1,
    "cloudyu__Mixtral_11Bx2_MoE_19B": 19.2,
    "golaxy__gowizardlm": 7.0,
    "kevin009__llamaRAGdrama": 7.0,
    "kyujinpy__Sakura-SOLRCA-Math-Instruct-DPO-v1": 10.7,
    "microsoft__phi-1_5": 1.3,
    "microsoft__phi-2": 2.7,
    "mistralai__Mixtral-8x7B-Instruct-v0.1": 46.7,
    "openchat__openchat-3.5-0106": 7.0,
    "openchat__openchat_3.5": 7.0,
    "rishiraj__CatPPT-base": 7.0,
    "shleeeee__mistral-ko-tech-science-v1": 7.0,
    "zhengr__MixTAO-7Bx2-MoE-v8.1": 12.9,
}
"""Billion parameters of LLMs whose name does not give their number, all experts of a mixture counted."""


def parameters_of(llm: str) -> float | None:
    """Read the size of an LLM off its name.

    Args:
        llm: Name in the table, ``owner__name``.

    Returns:
        Size [billion parameters]; None where neither the name nor a list of exceptions tells.
    """
    if llm in _SIZES:
        return _SIZES[llm]
    sizes = _SIZE_IN_NAME.findall(llm)
    return float(sizes[-1]) if sizes else None


def read(folder: Path) -> SourceTables:
    """Read the three CSV files, one row for each prompt, LLM and task variant, into one table.

    A pair that occurs in several task variants counts as right if it is right in one of them.

    Args:
        folder: Where the files are.

    Returns:
        All prompts of the three files; ``category`` becomes the source.

    Raises:
        DataError: A file lacks a column or is malformed, or one ``prompt_id`` has two texts.
    """
    places = places_in(folder, ", ".join(_FILES))
    pairs, prompts = [], None
    for batch in (batch for name in _FILES for batch in _batches(folder / name)):
        pairs.append(batch.select(["prompt_id", "model_name", "label"]))
        known = batch.select(["prompt_id", "prompt", "category"])
        known = known if prompts is None else pa.concat_tables([prompts, known])
        prompts = _first_category(known)
    assert prompts is not None, "every CSV file has at least an empty batch"
    refuse_repeats(
        prompts["prompt_id"].combine_chunks(), prompts["prompt_id"], place=places.prompts, column="prompt_id"
    )
    right = pa.concat_tables(pairs).group_by(["prompt_id", "model_name"]).aggregate([("label", "max")])
    llms = sorted(pc.unique(right["model_name"]).to_pylist())
    return SourceTables(
        prompts=prompts.rename_columns({"category": "source"}),
        models=pa.table({"model_id": llms, "params_b": pa.array(map(parameters_of, llms), pa.float64())}),
        outcomes=outcome_table(
            **{"prompt_id": right["prompt_id"], "model_id": right["model_name"], "score": right["label_max"]}
        ),
        places=places,
    )


def _batches(file: Path) -> Iterator[pa.Table]:
    with file.open(newline="", encoding="utf-8-sig") as handle:
        require_columns(next(csv.reader(handle), []), list(_COLUMNS), str(file))
    try:
        with pa_csv.open_csv(
            file,
            read_options=pa_csv.ReadOptions(block_size=_BLOCK),
            parse_options=pa_csv.ParseOptions(newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(column_types=_COLUMNS, include_columns=list(_COLUMNS)),
        ) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])
    except pa.ArrowException as error:
        raise DataError(f"{file}: expected a whole CSV file of EmbedLLM ({error}). Download it again.") from None


def _first_category(prompts: pa.Table) -> pa.Table:
    merged = prompts.group_by(["prompt_id", "prompt"]).aggregate([("category", "min")])
    return merged.rename_columns({"category_min": "category"}).select(["prompt_id", "prompt", "category"])


TABLE = PublicTable(
    name="embedllm",
    files=_FILES,
    origin=HubFiles(repository="RZ412/EmbedLLM", revision="266ae3e180ccb533c86afc9cfb2f5db99d171aea"),
    licence="Apache-2.0, as stated on the dataset card",
    read=read,
    choices=(
        "The source has no sizes: params_b is read off the name of each LLM, a list in the reader fills the gaps.",
        "A prompt and LLM with several task variants count as right if one of them is right, as in the authors' code.",
        "A prompt in several categories has the alphabetically first as its source.",
    ),
)
"""EmbedLLM as its authors publish it."""
