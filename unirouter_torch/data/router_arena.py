"""RouterArena: its prompts from a local clone, for evaluation alone. Its rules forbid to train on them."""

import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from unirouter_torch.data.files import read_records
from unirouter_torch.errors import DataError

ArenaSplit = Literal["full", "sub_10", "robustness"]

PROMPT_FILES: dict[ArenaSplit, str] = {
    "full": "dataset/router_data.json",
    "sub_10": "dataset/router_data_10.json",
    "robustness": "dataset/router_robustness.json",
}
"""Where the script that prepares RouterArena's data writes the prompts of a split, in a clone of its repository."""


class ArenaPrompts(NamedTuple):
    """The prompts of a split, in its order."""

    indices: tuple[str, ...]
    """RouterArena's name of each prompt, its global index."""
    texts: tuple[str, ...]
    """The prompt as the LLM gets it."""


def read_arena_prompts(clone: Path, split: ArenaSplit) -> ArenaPrompts:
    """Read the prompts of a split.

    Args:
        clone: A clone of RouterArena with prepared data.
        split: Which prompts.

    Raises:
        DataError: The file is missing, is not of its form, or names a prompt twice.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    file = clone / PROMPT_FILES[split]
    if not file.is_file():
        raise DataError(
            f"{file}: no such file; expected a clone of RouterArena with prepared data. Run its "
            "scripts/process_datasets/prep_datasets.py, or correct the path."
        )
    try:
        with tempfile.TemporaryDirectory() as cache:
            rows = load_dataset("json", data_files=str(file), split="train", cache_dir=cache).to_list()
    except (DatasetsError, OSError, ValueError) as error:
        raise DataError(f"{file}: expected a JSON array of objects ({error}). Prepare the data again.") from error
    indices, texts = [], []
    for number, row in enumerate(rows):
        name, prompt = row.get("global index"), row.get("prompt_formatted") or row.get("prompt")
        if not isinstance(name, str) or not isinstance(prompt, str) or not prompt:
            raise DataError(
                f"{file}: entry {number} lacks 'global index' or 'prompt_formatted', expected both as text. Prepare "
                "the data again."
            )
        indices.append(name)
        texts.append(prompt)
    if len(set(indices)) < len(indices):
        twice = next(name for name in indices if indices.count(name) > 1)
        raise DataError(f"{file}: {twice!r} occurs twice, expected each global index once. Prepare the data again.")
    return ArenaPrompts(tuple(indices), tuple(texts))


class Graded(NamedTuple):
    """How an LLM did on one prompt."""

    accuracy: float
    """Score of its answer, in [0, 1]."""
    cost: float
    """What the answer cost [US dollars]."""


def read_arena_grades(clone: Path, llm: str) -> dict[str, Graded]:
    """What RouterArena's repository keeps of graded answers of an LLM: its score and cost by global index.

    Args:
        clone: A clone of RouterArena.
        llm: Name of the LLM there.

    Returns:
        The graded answers, of several to one prompt the last; none where the repository keeps nothing of the LLM.

    Raises:
        DataError: The file is not of its form.
    """
    file = clone / "cached_results" / f"{llm.replace('/', '_')}.jsonl"
    if not file.is_file():
        return {}
    found = {}
    for place, row in read_records(file):
        grade = row.get("evaluation_result")
        if not isinstance(grade, dict) or grade.get("score") is None or grade.get("inference_cost") is None:
            continue
        try:
            found[str(row["global_index"])] = Graded(float(grade["score"]), float(grade["inference_cost"]))
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{place}: expected global_index, and a score and inference_cost as numbers.") from None
    return found
