"""A router without a pool, trained on several tables: it serves prompts and LLMs that it has never met."""

from pathlib import Path
from typing import Any

import torch

from unirouter_torch.config.files import write_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.modeling.router import Router
from unirouter_torch.modeling.router_files import CalibrationPrompts
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.training.other_tables import OtherTable
from unirouter_torch.training.run import embed_other_tables, load_encoder
from unirouter_torch.training.travelling import train_travelling_head


def pretrain(config: TrainConfig) -> Router:
    """Train a head on all prompts and LLMs of ``data.tables``, and save it as a router with an empty pool.

    A tenth of the prompts of each table is kept from the steps, to choose one of them. The encoder is written by
    reference, with its checksum.

    Args:
        config: The run; ``data.path`` plays no part.

    Returns:
        The router, which ``output_dir/router`` holds.

    Raises:
        ConfigError: ``data.tables`` is empty, or ``encoder_training.mode`` is not ``frozen``.
        UniRouterError: The data, the encoder or the output folder cannot be used.
    """
    if not config.data.tables:
        raise ConfigError("data.tables: got none, expected at least one table. Add --data.tables '[FOLDER, ...]'.")
    if config.encoder_training.mode != "frozen":
        raise ConfigError(
            f"encoder_training.mode: got {config.encoder_training.mode}, expected frozen: a router without a pool is "
            "trained over a frozen encoder."
        )
    folder = Path(config.output_dir)
    write_config(config, folder / "config.yaml")
    encoder = load_encoder(config)
    tables = embed_other_tables(config, encoder)
    head, step = train_travelling_head(tables, config, config.seed)
    router = Router(
        encoder=encoder,
        head=head,
        pool=LLMPool.empty(head.num_clusters),
        calibration=CalibrationPrompts(prompt_ids=(), texts=(), cluster_probability=torch.zeros(0, head.num_clusters)),
        about={"trained_on": {table.name: _describe(table) for table in tables}, "step": step},
    ).eval()
    router.save_pretrained(folder / "router", with_encoder=False)
    return router


def _describe(table: OtherTable) -> dict[str, Any]:
    return {
        "num_prompts": len(table.train.error) + len(table.validation.error),
        "num_llms": table.train.error.shape[1],
        "content_hash": table.content_hash,
    }
