"""An encoder of which some weights are trained, over the prompts of one table."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.encoder.padding import batches_by_tokens, pad_rows
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder
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
        form: Surface features of each prompt, which nothing trains; none where not given.
        units: Modules whose weights are used together, ``trained`` at last.
        finish: Makes ``encoder`` what it is saved as.
    """

    def __init__(
        self,
        encoder: PromptEncoder,
        trained: nn.Module,
        inputs: Sequence[Tensor],
        *,
        form: Embedding | None = None,
        units: Sequence[nn.Module] = (),
        finish: Callable[[], Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.trained = trained
        self.inputs = inputs
        self.form = torch.empty(len(inputs), 0) if form is None else form
        self.agree_on_passes: Callable[[int], int] = lambda num_passes: num_passes
        """Number of passes for the number that this process needs; workers that share out the weights need equally
        many."""
        self._units = list(units) or [trained]
        self._finish = finish

    def units(self) -> list[nn.Module]:
        """Modules whose weights are used together: each layer of a network, and at last all that is trained."""
        return self._units

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
        embedding = torch.zeros(len(rows), self.encoder.text_dim, device=device)
        filled = [position for position, row in enumerate(rows) if len(self.inputs[row]) > 0]
        lengths = [len(self.inputs[rows[position]]) for position in filled]
        batches = batches_by_tokens(lengths, self.encoder.tokens_per_batch)
        num_passes = self.agree_on_passes(max(1, len(batches)))  # before any pass, where workers wait for one another
        for batch in batches:
            positions = [filled[number] for number in batch]
            part = self._pass([self.inputs[rows[position]] for position in positions], device)
            embedding = embedding.index_copy(0, torch.tensor(positions, device=device), part)
        # every weight has a gradient even where no prompt passes, which workers wait for from one another
        for _ in range(len(batches), num_passes):
            blank = self.inputs[0].new_full((1, *self.inputs[0].shape[1:]), self.encoder.filler)
            embedding = embedding + 0 * self._pass([blank], device)
        return torch.cat([embedding, self.form[rows].to(device)], dim=1)

    def _pass(self, inputs: Sequence[Tensor], device: torch.device) -> Embedding:
        values, mask = pad_rows(inputs, self.encoder.filler)
        embedding: Tensor = self.trained(values.to(device), mask.to(device))
        return embedding.float()

    def finish(self) -> PromptEncoder:
        """The encoder with what it has learned, for good: nothing can be trained afterwards."""
        if self._finish is not None:
            self._finish()
        return self.encoder.requires_grad_(False).eval()


class WholeEncoder(nn.Module):
    """From tokens and mask to embeddings, through all of an encoder."""

    def __init__(self, encoder: PromptEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embeddings without the form of the prompts."""
        embedding: Tensor = self.encoder(input_ids.long(), attention_mask)
        return embedding


def check_trainable(encoder: PromptEncoder, config: EncoderTrainingConfig) -> None:
    """Refuse what :func:`make_trainable` would refuse, before anything is computed; names in ``lora_targets`` apart.

    Raises:
        ConfigError: The encoder cannot be trained in this way, or ``lora`` lacks the package ``peft``.
    """
    if encoder.backend != "torch":
        raise ConfigError(
            f"encoder_training.mode: got {config.mode} with encoder.backend {encoder.backend}, which has no "
            "gradients. Leave the backend out, or choose mode frozen."
        )
    if not isinstance(encoder, StaticEncoder):
        _of_transformers().check_transformer(encoder, config)
    elif config.mode == "lora" or config.gradient_checkpointing:
        setting = "mode: got lora" if config.mode == "lora" else "gradient_checkpointing: got true"
        raise ConfigError(
            f"encoder_training.{setting} with a static encoder, which has no layers. Choose mode full (its table) or "
            "last_layers (the weights of tokens), without gradient_checkpointing."
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
    if isinstance(encoder, StaticEncoder):
        return _make_static_trainable(encoder, texts, config)
    make: Callable[..., TrainableEncoder] = _of_transformers().make_transformer_trainable
    return make(encoder, texts, config, cache_dir=cache_dir, seed=seed, show_progress=show_progress)


def _make_static_trainable(
    encoder: StaticEncoder, texts: Sequence[str], config: EncoderTrainingConfig
) -> TrainableEncoder:
    whole = copy.deepcopy(encoder)
    whole.folder = None
    rows = whole.tokenize_rows(texts)
    # only tokens that occur can change; the first row is the filler's
    occurring, numbers = torch.unique(torch.cat([torch.zeros(1, dtype=torch.int32), *rows]), return_inverse=True)
    part = whole.of_tokens(occurring)
    part.add_trainable_parts(with_table=config.mode == "full")
    trained = WholeEncoder(part)
    if config.compile:
        trained.compile(dynamic=True)
    inputs = numbers[1:].int().split([len(row) for row in rows])
    finish = partial(whole.take_tokens, part, occurring)
    return TrainableEncoder(whole, trained, inputs, form=form_of(whole, texts), finish=finish)


def form_of(encoder: PromptEncoder, texts: Sequence[str]) -> Embedding:
    """Surface features of prompts; no columns where the encoder has no form."""
    return encoder.with_form(torch.empty(len(texts), 0), texts)


def _of_transformers() -> Any:
    # here, as transformers takes seconds to import and a static encoder does not need it
    from unirouter_torch.encoder import transformer_training

    return transformer_training
