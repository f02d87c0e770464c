"""A router without a pool, trained on several tables: it serves prompts and LLMs that it has never met."""

from pathlib import Path
from typing import Any

import torch

from unirouter_torch.config.files import write_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.other_tables import OtherTable
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.experiments.embedded_table import embed_other_tables, load_encoder
from unirouter_torch.methods.travelling import train_travelling_head
from unirouter_torch.router.calibration import CalibrationPrompts
from unirouter_torch.router.router import Router
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.training.checkpoint import remove_checkpoints
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.joint import train_jointly
from unirouter_torch.training.joint_tables import tables_alone
from unirouter_torch.training.launch import on_all_devices
from unirouter_torch.training.starting_router import read_starting_router


def pretrain(config: TrainConfig) -> Router | None:
    """Train on all prompts and LLMs of ``data.tables``, and save a router with an empty pool.

    A tenth of the prompts of each table is kept from the steps, to choose one of them. A frozen encoder is written by
    reference, with its checksum; a trained one lies in the router's folder. Where no step was better than the frozen
    encoder, that is kept. An interrupted training goes on from its checkpoint.

    Args:
        config: The run; ``data.path`` plays no part.

    Returns:
        The router, which ``output_dir/router`` holds; None in a worker of torchrun or SLURM that is not the first.

    Raises:
        ConfigError: ``data.tables`` is empty.
        UniRouterError: The data, the encoder or the output folder cannot be used.
        TerminatedError: The process was asked to end.
    """
    if not config.data.tables:
        raise ConfigError("data.tables: got none, expected at least one table. Set data.tables to a list of tables.")
    if config.trainer.num_workers == 1:
        return _pretrain(config)
    if not on_all_devices(_pretrain_and_save, config):
        return None
    return Router.from_pretrained(Path(config.output_dir) / "router")


def _pretrain_and_save(config: TrainConfig) -> bool:
    return _pretrain(config) is not None


def _pretrain(config: TrainConfig) -> Router | None:
    folder, workers = Path(config.output_dir), DeviceGroup.current()
    if workers.is_first:
        write_config(config, folder / "config.yaml")
    with workers.first_then_others():
        encoder = load_encoder(config)
        tables = embed_other_tables(config, encoder)
    head, step = train_travelling_head(tables, config, config.seed, log_folder=folder / "logs")
    steps = {"step": step}
    if config.encoder_training.mode != "frozen":
        joint = tables_alone(tables, num_calibration=config.data.num_calibration, seed=config.seed)
        tuned = train_jointly(config, encoder, head, joint, log_folder=folder / "logs" / "encoder")
        steps["encoder_step"] = tuned.step
        if tuned.step > 0:
            encoder, head = tuned.encoder.cpu(), tuned.head
    if not workers.is_first:
        return None
    router = Router(
        encoder=encoder,
        head=head,
        pool=LLMPool.empty(head.num_clusters),
        calibration=CalibrationPrompts(prompt_ids=(), texts=(), cluster_probability=torch.zeros(0, head.num_clusters)),
        about={"trained_on": {table.name: _describe(table) for table in tables}, **steps},
    ).eval()
    router.save_pretrained(folder / "router", with_encoder=not _can_be_referred_to(encoder, config))
    remove_checkpoints(folder / "logs")
    return router


def _can_be_referred_to(encoder: PromptEncoder, config: TrainConfig) -> bool:
    """Whether an encoder is found by its name elsewhere: neither trained here, nor part of the router started from."""
    start = read_starting_router(config)
    return encoder.folder is not None and (start is None or encoder.folder != start.encoder_folder)


def _describe(table: OtherTable) -> dict[str, Any]:
    return {
        "num_prompts": len(table.train.error) + len(table.validation.error),
        "num_llms": table.train.error.shape[1],
        "content_hash": table.content_hash,
    }
