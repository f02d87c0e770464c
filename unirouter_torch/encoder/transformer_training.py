"""Training of transformers: all weights, the last layers, or low-rank changes."""

import contextlib
import copy
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.files import first_line
from unirouter_torch.encoder.layer_cache import lower_layers_with_cache
from unirouter_torch.encoder.layers import LastLayers
from unirouter_torch.encoder.trainable import TrainableEncoder, WholeEncoder, form_of
from unirouter_torch.encoder.transformer_encoder import TransformerEncoder
from unirouter_torch.errors import ConfigError


def check_transformer(encoder: TransformerEncoder, config: EncoderTrainingConfig) -> None:
    """Refuse what :func:`make_transformer_trainable` would refuse; names in ``lora_targets`` apart.

    Raises:
        ConfigError: The encoder cannot be trained in this way, or ``lora`` lacks the package ``peft``.
    """
    if config.mode == "last_layers":
        LastLayers(encoder, config.num_layers)
    if config.mode == "lora" and importlib.util.find_spec("peft") is None:
        raise ConfigError(
            "encoder_training.mode: got lora, which needs the package peft. Run `pip install 'unirouter_torch[lora]'`."
        )
    if config.gradient_checkpointing and not encoder.network.supports_gradient_checkpointing:
        raise ConfigError(
            "encoder_training.gradient_checkpointing: got true, but this encoder cannot do it. Set it to false."
        )


def make_transformer_trainable(
    encoder: TransformerEncoder,
    texts: Sequence[str],
    config: EncoderTrainingConfig,
    *,
    cache_dir: Path,
    seed: int,
    show_progress: bool = False,
) -> TrainableEncoder:
    """As :func:`~unirouter_torch.encoder.trainable.make_trainable`, for a transformer that passed its check."""
    network = copy.deepcopy(encoder.network).requires_grad_(False)
    copied = TransformerEncoder(
        network, encoder.tokenizer, encoder.recipe, name=encoder.name, form=copy.deepcopy(encoder.form)
    ).eval()
    finish = None
    if config.mode == "last_layers":
        trained: nn.Module = LastLayers(copied, config.num_layers)
        inputs = lower_layers_with_cache(
            encoder, config.num_layers, texts, cache_dir=cache_dir, show_progress=show_progress
        )
        trained.requires_grad_(True)
    else:
        trained, inputs = WholeEncoder(copied), copied.tokenize_rows(texts)
        if config.mode == "lora":
            finish = _add_lora(network, config, seed)
        else:
            network.requires_grad_(True)
    trained.eval()
    if config.gradient_checkpointing:
        _checkpoint(network)
    if config.compile:
        trained.compile(dynamic=True)
    units = [*_layers(network), trained]
    return TrainableEncoder(copied, trained, inputs, form=form_of(copied, texts), units=units, finish=finish)


def _layers(network: Any) -> list[nn.Module]:
    for module in network.modules():
        if isinstance(module, nn.ModuleList) and len(module) == network.config.num_hidden_layers:
            return list(module)
    return []


def _add_lora(network: Any, config: EncoderTrainingConfig, seed: int) -> Callable[[], Any]:
    """Put changes beside the linear layers; what comes back adds them to the weights and takes them away."""
    from peft import LoraConfig, LoraModel

    targets = config.lora_targets or "all-linear"
    settings = LoraConfig(r=config.lora_rank, lora_alpha=config.lora_alpha, target_modules=targets)
    try:
        with _seeded(seed):
            tuner = LoraModel(network, settings, "default")
    except ValueError as error:
        raise ConfigError(
            f"encoder_training.lora_targets: got {config.lora_targets} ({first_line(error)}); expected names of "
            f"modules of the encoder, such as {_some_linear_names(network)}, or null for all linear layers."
        ) from None
    merge: Callable[[], Any] = tuner.merge_and_unload
    return merge


def _some_linear_names(network: nn.Module) -> str:
    names = [name.rsplit(".", 1)[-1] for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    return ", ".join(list(dict.fromkeys(names))[:4])


def _checkpoint(network: Any) -> None:
    with warnings.catch_warnings():
        # The name that all of transformers 5 knows; its end announces another one.
        warnings.simplefilter("ignore", FutureWarning)
        network.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    # Layers do it in training mode alone; their parts stay in evaluation mode, without dropout.
    for module in network.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
