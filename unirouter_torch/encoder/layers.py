"""A BERT-like encoder in two parts: the lower layers, which stay as they are, and the last ones, which are trained."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask

from unirouter_torch.encoder.padding import pool_and_normalize
from unirouter_torch.encoder.transformer_encoder import TransformerEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.shapes import Embedding, TokenEmbedding, TokenMask

SUPPORTED_NETWORKS = ("bert", "camembert", "roberta", "xlm-roberta")
"""Networks whose layers read nothing but the output of the layer below and the mask."""


class LowerLayers(nn.Module):
    """Token vectors after the layers below the last ``num_layers``.

    Args:
        encoder: A BERT-like encoder.
        num_layers: Layers above, at least 1.

    Raises:
        ConfigError: The network is not supported or has fewer layers.
    """

    def __init__(self, encoder: TransformerEncoder, num_layers: int) -> None:
        super().__init__()
        layers = _layers_of(encoder, num_layers)
        self.network: Any = encoder.network
        self.layers = layers[: len(layers) - num_layers]

    def forward(self, input_ids: Int[Tensor, "prompt token"], attention_mask: TokenMask) -> TokenEmbedding:
        """One vector for each token; meaningless at padding."""
        embedded = self.network.embeddings(input_ids=input_ids)
        return _through(self.layers, self.network.config, embedded, attention_mask)


class LastLayers(nn.Module):
    """Embeddings from the output of :class:`LowerLayers`: the last ``num_layers`` layers, pooling, normalisation.

    Args:
        encoder: A BERT-like encoder.
        num_layers: How many layers, at least 1.

    Raises:
        ConfigError: The network is not supported or has fewer layers.
    """

    def __init__(self, encoder: TransformerEncoder, num_layers: int) -> None:
        super().__init__()
        layers = _layers_of(encoder, num_layers)
        self.layers = layers[len(layers) - num_layers :]
        self.recipe = encoder.recipe
        self.config = encoder.network.config

    def forward(self, hidden: TokenEmbedding, attention_mask: TokenMask) -> Embedding:
        """One vector for each prompt, differentiable in the layers."""
        hidden = hidden.to(next(self.layers.parameters()).dtype)
        tokens = _through(self.layers, self.config, hidden, attention_mask)
        return pool_and_normalize(self.recipe.pooling, tokens, attention_mask, normalize=self.recipe.normalize)


def _layers_of(encoder: TransformerEncoder, num_layers: int) -> nn.ModuleList:
    network: Any = encoder.network
    kind = network.config.model_type
    if kind not in SUPPORTED_NETWORKS:
        raise ConfigError(
            f"encoder_training.mode: got last_layers with an encoder of kind {kind}, expected one of "
            f"{', '.join(SUPPORTED_NETWORKS)}. Choose full or lora, which train every encoder."
        )
    layers: nn.ModuleList = network.encoder.layer
    if num_layers > len(layers):
        raise ConfigError(
            f"encoder_training.num_layers: got {num_layers}, expected at most the {len(layers)} layers of "
            f"{encoder.name}."
        )
    return layers


def _through(
    layers: nn.ModuleList, config: Any, hidden: Float[Tensor, "prompt token dim"], attention_mask: TokenMask
) -> Float[Tensor, "prompt token dim"]:
    mask = create_bidirectional_mask(config=config, inputs_embeds=hidden, attention_mask=attention_mask)
    for layer in layers:
        hidden = layer(hidden, mask)
    return hidden
