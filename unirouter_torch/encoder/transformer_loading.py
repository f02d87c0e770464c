"""From an encoder's folder to its network and tokenizer; the only home of transformers' loaders."""

import contextlib
import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from unirouter_torch.config.checks import at_least
from unirouter_torch.encoder.files import first_line
from unirouter_torch.errors import ArtifactError, ConfigError

_FALLBACK_MAX_LENGTH = 512


def load_network(folder: Path) -> tuple[PreTrainedModel, Any]:
    """The network, in float32, and its tokenizer; no code from the folder is run, and only safetensors are read.

    Args:
        folder: In Hugging Face layout.

    Raises:
        ArtifactError: The folder is damaged, or of a kind that is not supported.
    """
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder, **safe)
            config.use_cache = False
            network_class: Any = MODEL_MAPPING[type(config)]
            has_pooler = "add_pooling_layer" in inspect.signature(network_class).parameters
            network, report = AutoModel.from_pretrained(
                folder,
                config=config,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
                **({"add_pooling_layer": False} if has_pooler else {}),
                **safe,
            )
            tokenizer = AutoTokenizer.from_pretrained(folder, **safe)
    except Exception as error:  # A damaged folder makes transformers raise almost anything.
        raise ArtifactError(
            f"{folder}: cannot be loaded as an encoder ({first_line(error)}). Expected a folder in Hugging Face "
            "layout with config.json, model.safetensors and tokenizer.json."
        ) from None
    if config.is_encoder_decoder:
        raise ArtifactError(f"{folder}: {config.model_type} is an encoder-decoder, expected an encoder or a decoder.")
    if report["missing_keys"]:
        raise ArtifactError(f"{folder}: the weights lack {sorted(report['missing_keys'])[:3]}. Copy the folder whole.")
    # Where its files are missing, transformers makes up a tokenizer that knows special tokens alone.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise ArtifactError(f"{folder}: the tokenizer knows no word. Copy the folder whole, with tokenizer.json.")
    if not tokenizer.is_fast:
        raise ArtifactError(f"{folder}: got a {type(tokenizer).__name__}, expected a fast tokenizer (tokenizer.json).")
    return network, tokenizer


def resolve_max_length(asked: int | None, stored: int | None, tokenizer_limit: int, network: PreTrainedModel) -> int:
    """Longest prompt [tokens], never above the positions of the network.

    Args:
        asked: What the user wants, at least 8.
        stored: What the sentence-transformers files say; plays a part where nothing was asked for.
        tokenizer_limit: What the tokenizer says; plays a part where neither is given.
        network: Has the positions.

    Raises:
        ConfigError: ``asked`` is below 8 or above the positions.
    """
    positions = _num_positions(network)
    if asked is not None:
        at_least("encoder.max_length", asked, 8)
        if asked > positions:
            raise ConfigError(f"encoder.max_length: got {asked}, expected at most the encoder's {positions} positions.")
        return asked
    # A tokenizer without a limit gives an astronomic one.
    usual = tokenizer_limit if tokenizer_limit < 2**31 else _FALLBACK_MAX_LENGTH
    return min(stored or usual, positions)


def _num_positions(network: PreTrainedModel) -> int:
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin begin to count after the padding token.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    positions = getattr(network.config, "max_position_embeddings", None)
    return positions if positions and positions > 0 else 2**31


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Let transformers neither warn nor draw bars."""
    verbosity, has_bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if has_bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
