"""A routing table, and the others to train on, with one embedding for each prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.data.splits import require_outcomes, split_table, warn_of_pool_of_one
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.errors import DataError
from unirouter_torch.methods.end_to_end import FEWEST_PROMPTS
from unirouter_torch.shapes import Embedding
from unirouter_torch.training.joint import check_encoder_training
from unirouter_torch.training.starting_router import load_encoder_to_start_from


@dataclass(frozen=True, kw_only=True)
class EmbeddedTable:
    """A routing table with one embedding for each prompt, and the other tables to train on."""

    table: RoutingTable
    embedding: Embedding
    others: tuple[OtherTable, ...] = ()
    form_dim: int = 0


def load_encoder(config: TrainConfig) -> PromptEncoder:
    """The prompt encoder of the config, or that of the router to start from where it brings one.

    Raises:
        ArtifactError: It is not found, damaged, or of a kind that is not supported.
        ConfigError: It cannot be read or trained as the config asks, or does not fit the router to start from.
    """
    encoder = load_encoder_to_start_from(config)
    check_encoder_training(config, encoder)
    return encoder


def embed_table(config: TrainConfig, encoder: PromptEncoder | None = None) -> EmbeddedTable:
    """Load the table and the others to train on, and embed every prompt, from the cache where it can.

    Args:
        config: The run.
        encoder: That of the config; loaded here when not given.

    Raises:
        DataError: A table is malformed or cannot be split as the config asks, or nothing is left of ``data.tables``
            beside ``data.path``.
    """
    data, encoder = config.data, encoder or load_encoder(config)
    table = load_table(
        data.path,
        cost_rule=data.cost,
        group_column=data.group_column,
        same_llm=data.same_llm,
        conversation=encoder.recipe.conversation,
    )
    _check_split(config, table)
    embedding = embed_texts(config, encoder, table.prompt_texts)
    others = embed_other_tables(config, encoder, besides=table.prompt_texts)
    if data.tables and not others:
        raise DataError("data.tables: nothing is left beside the prompts of data.path. Name other tables.")
    return EmbeddedTable(table=table, embedding=embedding, others=others, form_dim=encoder.form_dim)


def _check_split(config: TrainConfig, table: RoutingTable) -> None:
    """Say now what would be refused after all prompts were embedded.

    Raises:
        DataError: There are too few prompts or LLMs, or a part of the split has no outcomes.
    """
    if table.num_llms < 2:
        raise DataError(
            f"{table.name}: got outcomes of 1 LLM, {table.llm_names[0]}, expected at least 2 to choose from. Add "
            "outcomes of another LLM on the same prompts."
        )
    split = split_table(table, seed=config.seed, unseen_fraction=config.data.unseen_fraction)
    require_outcomes(table, split, num_calibration=config.data.num_calibration, seed=config.seed)
    if len(split.train_prompts) < FEWEST_PROMPTS:
        num_prompts = len(split.train_prompts)
        raise DataError(f"training prompts: got {num_prompts}, expected at least {FEWEST_PROMPTS}. Add outcomes.")
    warn_of_pool_of_one(table, split)


def embed_other_tables(
    config: TrainConfig, encoder: PromptEncoder, besides: Sequence[str] = ()
) -> tuple[OtherTable, ...]:
    """The tables of ``data.tables`` with their embeddings.

    Args:
        config: The run.
        encoder: Embeds the prompts.
        besides: Prompts that are left out of them, and with them the very table that these come from.
    """
    left_out = set(besides)
    others = []
    for path in config.data.tables:
        table = load_table(path, cost_rule="equal", conversation=encoder.recipe.conversation)
        embedding = embed_texts(config, encoder, table.prompt_texts)
        rows = torch.tensor([row for row, text in enumerate(table.prompt_texts) if text not in left_out])
        if len(rows) >= FEWEST_PROMPTS:
            others.append(OtherTable.of(table, embedding, rows, encoder.form_dim))
    return tuple(others)


def embed_texts(
    config: TrainConfig, encoder: PromptEncoder, texts: Sequence[str], *, show_progress: bool = True
) -> Embedding:
    """Embeddings of some prompts, from the cache of the config where it can."""
    folder = cache_folder(config.data.cache_dir)
    return embed_with_cache(encoder, texts, cache_dir=folder, show_progress=show_progress)
