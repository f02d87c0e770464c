"""RouterBench: 11 LLMs with the billed cost of every answer, without examples in the prompt (Hu et al., 2024)."""

import ast
from pathlib import Path
from typing import Any

import pyarrow as pa

from unirouter_torch.data.public.columns import outcome_table, require_columns
from unirouter_torch.data.public.pickles import FRAME_GLOBALS, load_pickle
from unirouter_torch.data.public.source import HubFiles, PublicTable, places_in
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError

_FILE = "routerbench_0shot.pkl"
_COST, _RESPONSE = "|total_cost", "|model_response"


def read(folder: Path) -> SourceTables:
    """Read the pickled pandas table: one row for each prompt, three columns for each LLM.

    Args:
        folder: Where the file is.

    Returns:
        All prompts; ``eval_name`` becomes the source, the turns of a prompt are joined by line breaks.

    Raises:
        DataError: The pickle names anything but a plain table, lacks a column, or holds no number where one belongs.
    """
    file = folder / _FILE
    frame = load_pickle(file.read_bytes(), allowed=FRAME_GLOBALS, place=str(file))
    columns = [str(name) for name in getattr(frame, "columns", ())]
    llms = sorted(name.removesuffix(_COST) for name in columns if name.endswith(_COST))
    each = [name for llm in llms or ["<LLM>"] for name in (llm, llm + _COST, llm + _RESPONSE)]
    require_columns(columns, ["sample_id", "prompt", "eval_name", *each], str(file))
    prompt_id = frame["sample_id"].astype(str).tolist()
    return SourceTables(
        prompts=pa.table(
            {
                "prompt_id": prompt_id,
                "prompt": pa.array(map(_text, frame["prompt"]), pa.string()),
                "source": pa.array(map(str, frame["eval_name"]), pa.string()),
            }
        ),
        models=pa.table({"model_id": llms}),
        outcomes=pa.concat_tables([_outcomes_of(llm, frame, prompt_id, file) for llm in llms]),
        places=places_in(folder, _FILE),
    )


def _outcomes_of(llm: str, frame: Any, prompt_id: list[str], file: Path) -> pa.Table:
    try:
        score, cost = (pa.array(frame[name].tolist(), pa.float64(), from_pandas=True) for name in (llm, llm + _COST))
    except pa.ArrowException as error:
        raise DataError(f"{file}: columns {llm!r} and {llm + _COST!r}: expected numbers ({error}).") from None
    length = [len(_text(answer)) for answer in frame[llm + _RESPONSE]]
    outcomes = outcome_table(
        prompt_id=prompt_id, model_id=[llm] * len(prompt_id), score=score, cost_usd=cost, output_chars=length
    )
    return outcomes.filter(score.is_valid())


def _text(turns: object) -> str:
    """Text of a prompt or an answer, which is stored as a text, as a list of texts, or as the repr of such a list."""
    if isinstance(turns, str) and turns.startswith("["):
        try:
            turns = ast.literal_eval(turns)
        except (ValueError, SyntaxError):
            return str(turns)
    return "\n".join(map(str, turns)) if isinstance(turns, list | tuple) else str(turns)


TABLE = PublicTable(
    name="routerbench",
    files=(_FILE,),
    origin=HubFiles(repository="withmartian/routerbench", revision="784021482c3f320c6619ed4b3bb3b41a21424fcb"),
    licence="none stated on the dataset card",
    read=read,
    holds_pickle=True,
    sha256={_FILE: "ba4f77f19517610a707c374e99322d7750c30fc4ae7ff5527888595a1e65d36d"},
    choices=(
        "The file without examples in the prompt (0-shot) is read, not the one with five.",
        "The turns of a prompt are joined by line breaks.",
        "Pairs without a score are left out.",
    ),
)
"""RouterBench, zero-shot, as its authors publish it."""
