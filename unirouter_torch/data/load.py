"""The routing table that a path names."""

import re
from collections.abc import Sequence
from pathlib import Path

from unirouter_torch.config.recipes import recipes
from unirouter_torch.data.cost import CostRule
from unirouter_torch.data.simulate import simulate_tables
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.data.sources.hub import read_hub_dataset
from unirouter_torch.data.sources.log_file import read_log, read_log_folder
from unirouter_torch.data.sources.parquet_folder import read_parquet_folder
from unirouter_torch.data.table import RoutingTable, TablePlaces, build_table
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, check_conversation_rule

_HUB = "hub:"
_SIMULATED = re.compile(r"simulated(?::([1-9]\d*)x([1-9]\d*))?")
_FORMS = (
    "a folder with prompts.parquet, models.parquet and outcomes.parquet; a file with one outcome in a row: .csv, "
    ".jsonl, .json or .parquet, or a folder of such files; hub:owner/name or hub:owner/name@revision; simulated; "
    "simulated:NUM_PROMPTSxNUM_LLMS"
)


def load_table(
    path: str,
    *,
    cost_rule: CostRule = "auto",
    group_column: str | None = None,
    same_llm: Sequence[Sequence[str]] = (),
    conversation: str = LAST_USER,
) -> RoutingTable:
    """Load, check and join the outcomes that ``path`` names.

    Args:
        path: A folder of Parquet files, a log in CSV, JSON Lines, JSON or Parquet, a folder of logs,
            ``hub:owner/name[@revision]`` (or ``hub:`` and a local folder in that layout), ``simulated``, or
            ``simulated:NUM_PROMPTSxNUM_LLMS``.
        cost_rule: What an LLM costs; see :func:`unirouter_torch.data.cost.choose_cost`.
        group_column: Column of the LLMs with equal values for the same LLM; ``llm_group`` where not given.
        same_llm: Lists of LLMs that are the same LLM.
        conversation: How a conversation becomes its prompt: ``last_user``, ``last_turns:N`` or ``whole``.

    Returns:
        The routing table.

    Raises:
        DataError: The path is none of the forms, or the data are malformed.
        ConfigError: There is no such rule for conversations.
    """
    check_conversation_rule(conversation, "conversation")
    name, tables = _read(path, conversation)
    return build_table(
        tables.prompts,
        tables.models,
        tables.outcomes,
        name=name,
        places=tables.places,
        cost_rule=cost_rule,
        group_column=group_column,
        same_llm=same_llm,
        conversation=conversation,
    )


def _read(path: str, conversation: str) -> tuple[str, SourceTables]:
    if path.startswith(_HUB):
        dataset = path.removeprefix(_HUB)
        return dataset, read_hub_dataset(dataset)
    if size := _SIMULATED.fullmatch(path):
        return path, _simulated(size)
    file = Path(path).expanduser()
    if file.is_dir():
        name, is_table = file.resolve().name, any((file / f"{part}.parquet").is_file() for part in TablePlaces._fields)
        is_table = is_table or not any(file.iterdir())
        return name, read_parquet_folder(file) if is_table else read_log_folder(file, conversation)
    if file.is_file():
        name = Path(file.stem).stem if file.suffix in (".gz", ".zst") else file.stem
        return name, read_log(file, conversation)
    if advice := _where_recipes_find(path):
        raise DataError(f"data: got {path!r}, which is not here. {advice}")
    raise DataError(f"data: got {path!r}, which is no file or folder; expected one of: {_FORMS}. Correct the path.")


def _where_recipes_find(path: str) -> str | None:
    """Where the table of a recipe comes from; None for paths that no recipe names."""
    from unirouter_torch.data.public.prepare import PUBLIC_TABLES

    name = Path(path).name
    readers = [recipe for recipe, file in recipes().items() if f" {path}\n" in file.read_text(encoding="utf-8")]
    if any(recipe.startswith("research/") for recipe in readers):
        return "The research recipes read it, and it is not published. Name a table of yours by --data.path."
    if readers and name in PUBLIC_TABLES:
        return f"It is made by: unirouter data prepare {name} --output {path}"
    return None


def _simulated(size: re.Match[str]) -> SourceTables:
    counts = {"num_prompts": int(size[1]), "num_llms": int(size[2])} if size[1] else {}
    places = TablePlaces(*(f"{size[0]}, {part}" for part in TablePlaces._fields))
    prompts, models, outcomes = simulate_tables(**counts)
    return SourceTables(prompts, models, outcomes, places)
