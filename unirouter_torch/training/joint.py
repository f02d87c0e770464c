"""Training of the encoder together with the head, after the head was trained over the frozen encoder."""

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader

from unirouter_torch.config.fingerprint import deciding_settings
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.encoder.trainable import check_trainable, make_trainable
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.training.callbacks import KeepBest
from unirouter_torch.training.checkpoint import fingerprint_of_training
from unirouter_torch.training.device_group import DeviceGroup
from unirouter_torch.training.episodes import EpisodeDataset, EpisodesOfTables
from unirouter_torch.training.joint_module import JointModule, ValidationDraw
from unirouter_torch.training.joint_tables import JointTables
from unirouter_torch.training.module import DECIDING_LOSS
from unirouter_torch.training.sharding import gather_weights
from unirouter_torch.training.trainer import fit
from unirouter_torch.training.validation import NUM_VALIDATION_DRAWS


class TunedEncoder(NamedTuple):
    """What the training leaves.

    Attributes:
        encoder: The encoder with the weights of the least validation loss, on the device of the training.
        head: The head that goes with it, on the CPU.
        step: The step whose weights were kept; 0 where no step was better than the frozen encoder.
        losses: Cross-entropy of every episode [nats].
    """

    encoder: PromptEncoder
    head: ClusterHead
    step: int
    losses: list[float]


def train_jointly(
    config: TrainConfig, encoder: PromptEncoder, head: ClusterHead, tables: JointTables, *, log_folder: Path | None
) -> TunedEncoder:
    """Train an encoder and a head together.

    Args:
        config: The run; ``config.encoder_training.mode`` is not ``frozen``.
        encoder: The frozen encoder; it is left as it is.
        head: The head that was trained over it; it is left as it is.
        tables: The outcomes, with the embeddings of the frozen encoder.
        log_folder: Where learning curves and the checkpoint go; neither of them without it.

    Raises:
        ConfigError: The encoder cannot be trained in this way, or the hardware that ``trainer`` asks for is not there.
    """
    check_encoder_training(config, encoder)
    workers = DeviceGroup.current()
    prepare = partial(make_trainable, cache_dir=cache_folder(config.data.cache_dir), seed=tables.seed)
    with workers.first_then_others():
        show_progress = log_folder is not None and workers.is_first
        trainable = prepare(encoder, tables.texts, config.encoder_training, show_progress=show_progress)
    head = copy.deepcopy(head).train()
    head.far = None
    module = JointModule(trainable, head, tables, config)
    step = fit_module(module, tables.num_calibration, tables.seed, log_folder)
    if config.head.far_clusters:
        head.split_far(module.embed_training_prompts())
    if config.trainer.strategy == "fsdp":
        # a static encoder is trained for the tokens of its texts, a transformer for any
        texts = tables.texts if isinstance(encoder, StaticEncoder) else []
        trainable = prepare(encoder, texts, config.encoder_training)
        gather_weights(module.encoder, trainable)
    tuned = trainable.finish().to(module.device)
    return TunedEncoder(tuned, head.cpu().eval(), step, module.losses)


def fit_module(module: JointModule, num_calibration: int, seed: int, log_folder: Path | None) -> int:
    """Train a module in place, until its validation loss has stopped falling.

    Args:
        module: Encoder, head and outcomes.
        num_calibration: Training prompts that represent the LLMs in validation.
        seed: Seed of the episodes and of the draws for validation.
        log_folder: Where learning curves and the checkpoint go; neither of them without it.

    Returns:
        The step whose weights the module has now.
    """
    config, settings = module.config, module.config.encoder_training
    keep_best = KeepBest(DECIDING_LOSS)
    trainer = fit(
        module,
        _episodes(module, seed),
        _validation_draws(module, num_calibration, seed),
        config,
        log_folder=log_folder,
        fingerprint=_fingerprint(module, num_calibration, seed),
        callbacks=[
            keep_best,
            EarlyStopping(DECIDING_LOSS, patience=settings.patience, check_on_train_epoch_end=False),
        ],
        max_steps=settings.max_steps,
        val_check_interval=min(settings.validate_every, settings.max_steps) * settings.accumulate,
        num_sanity_val_steps=-1,
        precision=settings.precision,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.gradient_clip,
    )
    module.to(trainer.strategy.root_device)
    return keep_best.step


def _fingerprint(module: JointModule, num_calibration: int, seed: int) -> str:
    config = module.config
    # two workers with half the prompts each do the same
    config = replace(config, encoder_training=replace(config.encoder_training, num_prompts=_num_prompts(config)))
    settings = deciding_settings(config, ("encoder", "head", "episodes", "optimizer", "encoder_training"))
    data = [tensor for name, tensor in module.named_buffers() if name.startswith(("banks", "train", "validation"))]
    return fingerprint_of_training([seed, num_calibration, settings], data)


def _num_prompts(config: TrainConfig) -> int:
    return config.encoder_training.num_prompts * DeviceGroup.current().size


def check_encoder_training(config: TrainConfig, encoder: PromptEncoder) -> None:
    """Refuse an encoder that cannot be trained as the config asks, before anything is computed.

    Raises:
        ConfigError: The encoder cannot be trained in this way.
    """
    if config.encoder_training.mode != "frozen":
        check_trainable(encoder, config.encoder_training)


def _episodes(module: JointModule, seed: int) -> EpisodesOfTables:
    config, settings = module.config, module.config.encoder_training
    drawn = replace(config.episodes, num_targets=min(config.episodes.num_targets, _num_prompts(config)))
    episodes = [
        EpisodeDataset(
            num_prompts=num_prompts,
            num_llms=num_llms,
            num_episodes=settings.max_steps * settings.accumulate,
            config=drawn,
            seed=seed,
        )
        for num_prompts, num_llms in module.table_sizes
    ]
    return EpisodesOfTables(episodes)


def _validation_draws(module: JointModule, num_calibration: int, seed: int) -> DataLoader[ValidationDraw]:
    draws = []
    for table in range(module.num_deciding):
        generator, (num_prompts, _) = torch.Generator().manual_seed(seed), module.table_sizes[table]
        orders = [torch.randperm(num_prompts, generator=generator) for _ in range(NUM_VALIDATION_DRAWS)]
        draws += [ValidationDraw(table, order[:num_calibration]) for order in orders]
    return DataLoader(draws, batch_size=None)  # type: ignore[arg-type]
