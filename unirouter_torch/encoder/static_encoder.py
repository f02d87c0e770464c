"""An encoder without a network: each token has a vector, and a prompt is the mean of its tokens'."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from tokenizers import Tokenizer
from tokenizers.processors import Sequence as ProcessorSequence
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize

from unirouter_torch.config.distillation import TableDtype
from unirouter_torch.encoder.files import EncoderRecipe
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.shapes import Embedding, TokenMask
from unirouter_torch.storage import digest_of_tensors

"""How a token table is kept in files; in memory it is float32."""

_TOKENS_PER_BATCH = 2**18


class StaticEncoder(PromptEncoder):
    """A tokenizer and a table of token vectors; the embedding of a prompt is their mean, of unit length.

    There is no network and no position: it embeds a hundred times as many prompts a second as a small transformer,
    reads prompts of any length, and trains in minutes on a CPU.

    Args:
        table: A vector for each token; its weight is its length.
        tokenizer: Cuts prompts into the table's tokens; it is taken over, without cutting, padding and special
            tokens.
        recipe: Normalisation, longest prompt and prefix; the pooling is ``mean``.
        name: Where the encoder came from.
        folder: Its files on this machine; None where it was made in memory.
        form: Surface features that are put beside the embedding; none where not given.
        dtype: How the table is kept in files. It is rounded to that here, so that nothing changes when it is saved.

    Source: model2vec (Minish, 2024) and the static embeddings of sentence-transformers.
    """

    table_change: Float[Tensor, "vocabulary dim"] | None
    """What training adds to the table; neither of these two is there but while it is trained."""
    log_weight: Float[Tensor, " vocabulary"] | None
    """Logarithm of what each token counts beside the length of its vector."""

    def __init__(
        self,
        table: Float[Tensor, "vocabulary dim"],
        tokenizer: Tokenizer,
        recipe: EncoderRecipe,
        *,
        name: str,
        folder: Path | None = None,
        form: PromptForm | None = None,
        dtype: TableDtype = "float32",
    ) -> None:
        assert recipe.pooling == "mean"
        super().__init__(recipe, name=name, folder=folder, form=form)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.post_processor = ProcessorSequence([])  # [CLS] and the like would count as words
        self.tokenizer = tokenizer
        self.dtype: TableDtype = dtype
        self.table = nn.Parameter(unpack_table(*pack_table(table.detach(), dtype)), requires_grad=False)
        for name in ("table_change", "log_weight"):
            self.register_parameter(name, None)

    @property
    def text_dim(self) -> int:
        """Length of the embedding of the tokens."""
        return self.table.shape[1]

    @property
    def backend_tokenizer(self) -> Tokenizer:
        """What cuts text into tokens."""
        return self.tokenizer

    @property
    def pad_token(self) -> str | None:
        """Name of the token that padding is filled with; it has no effect on an embedding."""
        return self.tokenizer.id_to_token(self.filler)

    @property
    def filler(self) -> int:
        """The token that padding is filled with: any one, as it has no effect."""
        return 0

    @property
    def device(self) -> torch.device:
        """Where the table is."""
        return self.table.device

    @property
    def tokens_per_batch(self) -> int:
        """Tokens, padding included, that are looked up together."""
        return _TOKENS_PER_BATCH

    def forward(self, input_ids: Int[Tensor, "prompt token"], attention_mask: TokenMask) -> Embedding:
        """Embeddings of tokenized prompts without their form, differentiable."""
        weight = attention_mask.to(self.table.dtype)
        num_tokens = weight.sum(1)
        if self.log_weight is not None:
            weight = weight * self.log_weight.exp()[input_ids]
        if torch.compiler.is_exporting():  # a bag is no operation of ONNX
            return self._mean((weight.unsqueeze(1) @ self._vectors()[input_ids]).squeeze(1), num_tokens)
        return self._mean(embedding_bag(input_ids, self._vectors(), mode="sum", per_sample_weights=weight), num_tokens)

    def _batches(self, lengths: list[int]) -> list[list[int]]:
        batch = np.cumsum(lengths, dtype=np.int64) // _TOKENS_PER_BATCH
        return [list(rows) for _, rows in groupby(range(len(lengths)), key=batch.__getitem__)]

    def _collate(self, rows: Sequence[Int[Tensor, " _token"]]) -> tuple[Tensor, ...]:
        return torch.cat(list(rows)), torch.tensor([len(row) for row in rows], dtype=torch.int32)

    def _embed_together(self, *parts: Tensor) -> Embedding:
        tokens, num_tokens = parts
        first = num_tokens.cumsum(0, dtype=tokens.dtype) - num_tokens
        weight = None if self.log_weight is None else self.log_weight.exp()[tokens]
        total = embedding_bag(tokens, self._vectors(), first, mode="sum", per_sample_weights=weight)
        return self._mean(total, num_tokens)

    def _vectors(self) -> Float[Tensor, "vocabulary dim"]:
        return self.table if self.table_change is None else self.table + self.table_change

    def _mean(self, total: Embedding, num_tokens: Shaped[Tensor, " prompt"]) -> Embedding:
        mean = total / num_tokens.clamp(min=1).unsqueeze(1)
        return normalize(mean, dim=-1) if self.recipe.normalize else mean

    def of_tokens(self, tokens: Int[Tensor, " part"]) -> "StaticEncoder":
        """One whose table has the rows of some tokens alone, in this order, as float32; it reads their places."""
        return StaticEncoder(self.table[tokens], self.tokenizer, self.recipe, name=self.name)

    @torch.no_grad()
    def take_tokens(self, part: "StaticEncoder", tokens: Int[Tensor, " part"]) -> None:
        """Take what :meth:`of_tokens` gave back with what it has learned, and round it as the files will."""
        part.fold_trainable_parts()
        self.table[tokens] = part.table
        self._round()

    @torch.no_grad()
    def add_trainable_parts(self, *, with_table: bool) -> None:
        """Make weights that are trained, none of which changes anything yet.

        Each is a change that begins at zero, so that weight decay pulls back to what the encoder was.

        Args:
            with_table: Whether each token's vector changes, beside its weight.
        """
        self.log_weight = nn.Parameter(torch.zeros(len(self.table), device=self.device))
        if with_table:
            self.table_change = nn.Parameter(torch.zeros_like(self.table))

    @torch.no_grad()
    def fold_trainable_parts(self) -> None:
        """Put what was trained into the table, and round it as its files will."""
        if self.table_change is not None:
            self.table.add_(self.table_change)
        if self.log_weight is not None:
            self.table.mul_(self.log_weight.exp().unsqueeze(1))
        self.table_change = self.log_weight = None
        self._round()

    def _round(self) -> None:
        self.table.copy_(unpack_table(*pack_table(self.table, self.dtype)))

    def save_pretrained(self, folder: Path) -> None:
        """Write the encoder in the layout that model2vec and sentence-transformers share.

        Args:
            folder: Where to; made where missing.
        """
        from unirouter_torch.encoder.static_files import write_static_encoder

        write_static_encoder(folder, self)

    def _token_ids(self, texts: list[str], limit: int | None) -> list[list[int]]:
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids[:limit] for encoding in encodings]

    def _num_added(self) -> tuple[int, int]:
        return 0, 0

    def _digest_of_weights(self) -> str:
        return digest_of_tensors(self.state_dict())


def pack_table(table: Float[Tensor, "vocabulary dim"], dtype: TableDtype) -> tuple[Tensor, Tensor | None]:
    """A table as it is kept in files.

    Args:
        table: Token vectors.
        dtype: Number format.

    Returns:
        The vectors in that format, and for ``int8`` the scale of each row: the vectors are integers in [-127, 127]
        times the scale.
    """
    match dtype:
        case "float32":
            return table.float(), None
        case "float16":
            return table.half(), None
        case "int8":
            scale = (table.float().abs().amax(1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
            return (table / scale.unsqueeze(1)).round().to(torch.int8), scale


def unpack_table(vectors: Tensor, scale: Tensor | None) -> Float[Tensor, "vocabulary dim"]:
    """What :func:`pack_table` was given, rounded; in float32."""
    return vectors.float() if scale is None else vectors.float() * scale.unsqueeze(1)
