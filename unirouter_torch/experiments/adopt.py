"""A trained router for outcomes that it has never met: calibration instead of training."""

import warnings

import torch

from unirouter_torch.config.checks import at_least
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.errors import DataError, first_few
from unirouter_torch.router.router import Router


def adopt_table(
    router: Router, table: RoutingTable, *, num_calibration: int, seed: int = 0, cache_dir: str | None = None
) -> None:
    """Give a trained router the LLMs of a table, represented by their outcomes there; nothing is trained.

    The prompts are embedded with a bar of progress, and come from the cache where they were embedded before.

    Args:
        router: Changed in place: its pool and calibration prompts become those of the table.
        table: Outcomes, at least one for each LLM that is to join.
        num_calibration: How many prompts to keep as calibration prompts, at least 1; all where there are fewer.
        seed: Seed of their draw.
        cache_dir: Folder of the cache of embeddings; that of the user when not given.

    Raises:
        ConfigError: ``num_calibration`` is less than 1.
        DataError: No LLM has an outcome on the drawn prompts.
    """
    at_least("num_calibration", num_calibration, 1)
    order = torch.randperm(table.num_prompts, generator=torch.Generator().manual_seed(seed))
    rows = order[:num_calibration].sort().values.tolist()
    scores = {}
    for column, name in enumerate(table.llm_names):
        answered = [row for row in rows if table.observed[row, column]]
        if answered:
            scores[name] = {table.prompt_ids[row]: 1 - float(table.error[row, column]) for row in answered}
    if not scores:
        raise DataError(f"{table.name}: no LLM has an outcome on the {len(rows)} calibration prompts. Add outcomes.")
    if unknown := [name for name in table.llm_names if name not in scores]:
        warnings.warn(
            f"{table.name}: {len(unknown)} of {table.num_llms} LLMs have no outcome on the {len(rows)} calibration "
            f"prompts and are left out: {first_few(unknown)}. Add outcomes, or keep more prompts.",
            stacklevel=1,
        )
    prompts = {table.prompt_ids[row]: table.prompt_texts[row] for row in rows}
    embedding = embed_with_cache(router.encoder, list(prompts.values()), cache_dir=cache_folder(cache_dir))
    router.calibrate(
        prompts,
        scores,
        dict(zip(table.llm_names, table.cost.value.tolist(), strict=True)),
        cost_unit=table.cost.unit,
        cost_is_estimate=table.cost.is_estimate,
        embedding=embedding,
    )
