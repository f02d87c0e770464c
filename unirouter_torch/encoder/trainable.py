"""An encoder of which some weights are trained, over the prompts of one table."""

import contextlib
import copy
import importlib.util
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.files import first_line
from unirouter_torch.encoder.layer_cache import lower_layers_with_cache
from unirouter_torch.encoder.layers import LastLayers
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.token_rows import batches_by_tokens, pad_rows, tokens_per_batch
from unirouter_torch.errors import ConfigError
from unirouter_torch.shapes import Embedding, PromptSubset


class TrainableEncoder(nn.Module):
    """Embeds the prompts of one table, by row number and with gradients.

    It is always in evaluation mode, without dropout, so that an embedding from the past, from the cache of layers or
    from the saved router is of the same kind as the one that is trained.

    Args:
        encoder: Whose weights are trained, in place.
        trained: From ``inputs`` and mask to embeddings; shares its weights with ``encoder``.
        inputs: What ``trained`` reads of each prompt: ``[token]``, or ``[token dim]`` of the layers below.
        finish: Makes ``encoder`` what it is saved as.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        trained: nn.Module,
        inputs: Sequence[Tensor],
        finish: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.trained = trained
        self.inputs = inputs
        self.agree_on_passes: Callable[[int], int] = lambda num_passes: num_passes
        """Number of passes for the number that this process needs; workers that share out the weights need equally
        many."""
        self._finish = finish

    def units(self) -> list[nn.Module]:
        """Modules whose weights are used together: each layer of the network, and at last all that is trained."""
        network: Any = self.encoder.network
        for module in network.modules():
            if isinstance(module, nn.ModuleList) and len(module) == network.config.num_hidden_layers:
                return [*module, self.trained]
        return [self.trained]

    def train(self, mode: bool = True) -> "TrainableEncoder":
        """Stay in evaluation mode."""
        del mode
        return self

    def forward(self, prompts: PromptSubset) -> Embedding:
        """Embeddings of some prompts, in the given order and in float32.

        Prompts of similar length share a batch; those without any token get the zero vector.

        Args:
            prompts: Row numbers.
        """
        rows = prompts.tolist()
        device = next(self.trained.parameters()).device
        embedding = torch.zeros(len(rows), self.encoder.dim, device=device)
        filled = [position for position, row in enumerate(rows) if len(self.inputs[row]) > 0]
        lengths = [len(self.inputs[rows[position]]) for position in filled]
        batches = batches_by_tokens(lengths, tokens_per_batch(device))
        num_passes = self.agree_on_passes(max(1, len(batches)))  # before any pass, where workers wait for one another
        for batch in batches:
            positions = [filled[number] for number in batch]
            part = self._pass([self.inputs[rows[position]] for position in positions], device)
            embedding = embedding.index_copy(0, torch.tensor(positions, device=device), part)
        # every weight has a gradient even where no prompt passes, which workers wait for from one another
        for _ in range(len(batches), num_passes):
            blank = self.inputs[0].new_full((1, *self.inputs[0].shape[1:]), self.encoder.filler)
            embedding = embedding + 0 * self._pass([blank], device)
        return embedding

    def _pass(self, inputs: Sequence[Tensor], device: torch.device) -> Embedding:
        values, mask = pad_rows(inputs, self.encoder.filler)
        embedding: Tensor = self.trained(values.to(device), mask.to(device))
        return embedding.float()

    def finish(self) -> PromptEncoder:
        """The encoder with what it has learned, for good: nothing can be trained afterwards."""
        if self._finish is not None:
            self._finish()
        return self.encoder.requires_grad_(False).eval()


class _Whole(nn.Module):
    def __init__(self, encoder: PromptEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(input_ids.long(), attention_mask)
        return embedding


def check_trainable(encoder: PromptEncoder, config: EncoderTrainingConfig) -> None:
    """Refuse what :func:`make_trainable` would refuse, before anything is computed; names in ``lora_targets`` apart.

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


def make_trainable(
    encoder: PromptEncoder,
    texts: Sequence[str],
    config: EncoderTrainingConfig,
    *,
    cache_dir: Path,
    seed: int,
    show_progress: bool = False,
) -> TrainableEncoder:
    """A copy of an encoder, ready to be trained on the prompts of a table; its embeddings are still the same.

    Args:
        encoder: The frozen encoder; it is left as it is.
        texts: The prompts of the table.
        config: What is trained; its mode is not ``frozen``.
        cache_dir: Where ``last_layers`` keeps the output of the layers below.
        seed: Seed of the first weights of ``lora``.
        show_progress: Whether to draw a bar while the layers below are computed.

    Raises:
        ConfigError: The encoder cannot be trained in this way, or ``lora`` lacks the package ``peft``.
    """
    check_trainable(encoder, config)
    network = copy.deepcopy(encoder.network).requires_grad_(False)
    copied = PromptEncoder(network, encoder.tokenizer, encoder.recipe, name=encoder.name).eval()
    finish = None
    if config.mode == "last_layers":
        trained: nn.Module = LastLayers(copied, config.num_layers)
        inputs = lower_layers_with_cache(
            encoder, config.num_layers, texts, cache_dir=cache_dir, show_progress=show_progress
        )
        trained.requires_grad_(True)
    else:
        trained, inputs = _Whole(copied), copied.tokenize_rows(texts)
        if config.mode == "lora":
            finish = _add_lora(network, config, seed)
        else:
            network.requires_grad_(True)
    trained.eval()
    if config.gradient_checkpointing:
        _checkpoint(network)
    if config.compile:
        trained.compile(dynamic=True)
    return TrainableEncoder(copied, trained, inputs, finish)


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
