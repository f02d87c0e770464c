"""SPROUT with o3-mini: graded answers and token counts of hosted LLMs (Somerstep et al., CARROT, 2025)."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unirouter_torch.data.public.columns import outcome_table, require_columns
from unirouter_torch.data.public.source import HubFiles, PublicTable, places_in
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError

_FILES = ("data/train-*.parquet", "data/validation-*.parquet", "data/test-*.parquet")
_FACTS = ("score", "num_input_tokens", "num_output_tokens")
_PRICES = {
    "aws-claude-3-5-sonnet-v1": (3.0, 15.0),
    "aws-titan-text-premier-v1": (0.5, 1.5),
    "openai-gpt-4o": (2.5, 10.0),
    "openai-gpt-4o-mini": (0.15, 0.6),
    "openai-o3-mini": (1.1, 4.4),
    "wxai-granite-3-2b-instruct-8k-max-tokens": (0.1, 0.1),
    "wxai-granite-3-8b-instruct-8k-max-tokens": (0.2, 0.2),
    "wxai-llama-3-1-70b-instruct": (0.9, 0.9),
    "wxai-llama-3-1-8b-instruct": (0.2, 0.2),
    "wxai-llama-3-2-1b-instruct": (0.06, 0.06),
    "wxai-llama-3-2-3b-instruct": (0.06, 0.06),
    "wxai-llama-3-3-70b-instruct": (0.9, 0.9),
    "wxai-llama-3-405b-instruct": (3.5, 3.5),
    "wxai-mixtral-8x7b-instruct-v01": (0.6, 0.6),
}
"""US dollars per million tokens of prompt and of answer; the source has token counts but no prices."""


def read(folder: Path) -> SourceTables:
    """Read the Parquet files: one row for each prompt, one struct column for each LLM.

    ``cost_usd = (num_input_tokens * price_in + num_output_tokens * price_out) / 1e6``, with a list of prices.

    Args:
        folder: Where the folder ``data`` is.

    Returns:
        All prompts, named by file and row; ``dataset`` becomes the source. Every struct column with a score is an
        LLM, so that the variant without o3-mini is read as well. LLMs without a known price have no cost.

    Raises:
        DataError: A file lacks a column or is no whole Parquet file.
    """
    parts = [_read_file(file) for pattern in _FILES for file in sorted(folder.glob(pattern))]
    prompts, outcomes = (pa.concat_tables(tables) for tables in zip(*parts, strict=True))
    llms = sorted(pc.unique(outcomes["model_id"]).to_pylist())
    prices = [_PRICES.get(llm, (None, None)) for llm in llms]
    price_in, price_out = (pa.array(side, pa.float64()) for side in zip(*prices, strict=True))
    return SourceTables(
        prompts=prompts,
        models=pa.table({"model_id": llms, "price_in": price_in, "price_out": price_out}),
        outcomes=outcomes,
        places=places_in(folder, "data"),
    )


def _read_file(file: Path) -> tuple[pa.Table, pa.Table]:
    try:
        with pq.ParquetFile(file) as parquet:
            schema = parquet.schema_arrow
            llms = [item.name for item in schema if pa.types.is_struct(item.type) and _has_score(item.type)]
            require_columns(schema.names, ["prompt", "dataset", *(llms or ["<LLM>"])], str(file))
            rows = parquet.read(columns=["prompt", "dataset"])
            prompt_id = [f"{file.name.removesuffix('.parquet')}/{row}" for row in range(rows.num_rows)]
            prompts = pa.table({"prompt_id": prompt_id, "prompt": rows["prompt"], "source": rows["dataset"]})
            # one LLM at a time, because its answers come along
            outcomes = [_outcomes_of(llm, parquet.read(columns=[llm])[llm], prompt_id, file) for llm in llms]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: expected a whole Parquet file of SPROUT ({error}). Download it again.") from None
    return prompts, pa.concat_tables(outcomes)


def _has_score(struct: pa.StructType) -> bool:
    return bool(struct.get_field_index("score") >= 0)


def _outcomes_of(llm: str, answers: pa.ChunkedArray, prompt_id: list[str], file: Path) -> pa.Table:
    names = [answers.type.field(position).name for position in range(answers.type.num_fields)]
    require_columns(names, _FACTS, f"{file}, column {llm!r}")
    score, num_input, num_output = (pc.struct_field(answers, name).cast(pa.float64()) for name in _FACTS)
    price_in, price_out = _PRICES.get(llm, (None, None))
    dollars = pc.add(
        pc.multiply(num_input, pa.scalar(price_in, pa.float64())),
        pc.multiply(num_output, pa.scalar(price_out, pa.float64())),
    )
    outcomes = outcome_table(
        prompt_id=prompt_id,
        model_id=[llm] * len(prompt_id),
        score=score,
        cost_usd=pc.divide(dollars, 1e6),
        output_tokens=num_output,
    )
    return outcomes.filter(score.is_valid())


TABLE = PublicTable(
    name="sprout",
    files=_FILES,
    origin=HubFiles(repository="CARROT-LLM-Routing/SPROUT-o3mini", revision="main"),
    licence="none stated on the dataset card",
    read=read,
    choices=(
        "The source has no prices: those of the authors' router are used, OpenAI's list price for o3-mini.",
        "Prompts are named by file and row.",
        "Pairs without a score are left out.",
    ),
)
"""SPROUT with o3-mini as its authors publish it."""
