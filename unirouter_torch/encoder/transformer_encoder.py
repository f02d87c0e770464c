"""Any text network in Hugging Face layout as an encoder."""

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from unirouter_torch.encoder.files import EncoderRecipe, write_form, write_recipe
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.padding import pool_and_normalize, tokens_per_batch
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.transformer_loading import quiet_transformers
from unirouter_torch.shapes import Embedding, TokenMask
from unirouter_torch.storage import digest_of_tensors


class TransformerEncoder(PromptEncoder):
    """Any text network in Hugging Face layout, with the pooling that its sentence-transformers files ask for.

    Args:
        network: Gives one vector for each token.
        tokenizer: Cuts prompts into the network's tokens.
        recipe: Pooling, normalisation, longest prompt and prefix.
        name: Where the encoder came from.
        folder: Its files on this machine; None where it was made in memory.
        form: Surface features that are put beside the embedding; none where not given.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        tokenizer: Any,
        recipe: EncoderRecipe,
        *,
        name: str,
        folder: Path | None = None,
        form: PromptForm | None = None,
    ) -> None:
        super().__init__(recipe, name=name, folder=folder, form=form)
        self.network = network
        self.tokenizer = tokenizer

    @property
    def text_dim(self) -> int:
        """Length of the embedding of the tokens."""
        dim: int = self.network.config.hidden_size
        return dim

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """What cuts text into tokens."""
        backend: Tokenizer = self.tokenizer.backend_tokenizer
        return backend

    @property
    def pad_token(self) -> str | None:
        """Name of the token that padding is filled with."""
        token: str | None = self.tokenizer.pad_token
        return token

    @property
    def filler(self) -> int:
        """The token that padding is filled with."""
        return self.tokenizer.pad_token_id or 0

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    @property
    def tokens_per_batch(self) -> int:
        """Tokens, padding included, that pass through the network together."""
        return tokens_per_batch(self.device)

    def forward(self, input_ids: Int[Tensor, "prompt token"], attention_mask: TokenMask) -> Embedding:
        """Embeddings of tokenized prompts without their form, differentiable."""
        output = self.network(input_ids=input_ids, attention_mask=attention_mask)
        tokens, recipe = output.last_hidden_state, self.recipe
        return pool_and_normalize(recipe.pooling, tokens, attention_mask, normalize=recipe.normalize)

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder so that :meth:`from_pretrained` and ``SentenceTransformer`` load it.

        Args:
            folder: Where to; made where missing.
        """
        # the state of the latest call, no part of the tokenizer
        self.backend_tokenizer.no_truncation()
        self.backend_tokenizer.no_padding()
        with quiet_transformers():
            self.network.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        write_recipe(folder, self.recipe, self.text_dim)
        write_form(folder, self.form)

    def _token_ids(self, texts: list[str], limit: int | None) -> list[list[int]]:
        cut = {"verbose": False} if limit is None else {"truncation": True, "max_length": limit}
        ids: list[list[int]] = self.tokenizer(texts, **cut)["input_ids"]
        return ids

    def _num_added(self) -> tuple[int, int]:
        is_special = self.tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
        before = is_special.index(0) if 0 in is_special else len(is_special)
        return before, is_special[::-1].index(0) if 0 in is_special else 0

    def _digest_of_weights(self) -> str:
        return digest_of_tensors(self.network.state_dict())
