"""A static encoder out of a transformer: the vector of each token, then tuned to mimic the transformer on prompts."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, normalize

from unirouter_torch.config.distillation import DistillationSettings, TableDtype
from unirouter_torch.encoder.embedding_cache import embed_rows_with_cache, embed_with_cache
from unirouter_torch.encoder.files import EncoderRecipe
from unirouter_torch.encoder.form import PromptForm
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder
from unirouter_torch.errors import ArtifactError
from unirouter_torch.progress import ProgressBar
from unirouter_torch.shapes import Embedding
from unirouter_torch.storage import digest_of_tensors, read_tensors, write_tensors

COMMON = 1e-3
"""Frequency of a token that counts half of what a rare one does."""
HELD_OUT = 0.1
"""Share of the prompts that the stop is decided on."""
PATIENCE = 2
"""Passes in a row without a higher cosine that end the tuning."""
STATE_FILE = "tuning.safetensors"


class Distilled(NamedTuple):
    """What a distillation leaves.

    Attributes:
        encoder: The static encoder.
        cosine_before: Mean cosine with the transformer on held-out prompts before the tuning; NaN without prompts.
        cosine: The same of the encoder.
        num_passes: Passes over the prompts whose table was kept.
    """

    encoder: StaticEncoder
    cosine_before: float
    cosine: float
    num_passes: int


def distill(
    encoder: PromptEncoder,
    texts: Sequence[Sequence[str]],
    settings: DistillationSettings,
    *,
    cache_dir: Path,
    state_folder: Path,
    name: str,
) -> Distilled:
    """Make a static encoder.

    The vector of a token is what the transformer gives for it alone, in the directions in which embeddings of the
    prompts vary most; it counts ``1e-3 / (1e-3 + frequency)``. Then all vectors are tuned, so that the unit-length mean
    points where the transformer's embedding points.

    An interrupted distillation goes on: what the transformer computes is cached, and each pass over the prompts kept in
    ``state_folder`` until the end.

    Args:
        encoder: The transformer.
        texts: Prompts of several origins, each of which counts alike in the frequencies. Without any the vectors are
            not tuned, and a token's frequency is taken to fall with its number, as in model2vec.
        settings: How.
        cache_dir: Folder of the cache.
        state_folder: Where an interrupted tuning is kept; made where missing.
        name: What to call the static encoder.

    Raises:
        ArtifactError: The encoder's tokenizer knows no word.

    Source: model2vec (Minish, 2024), token weights of Arora et al. (2017); that the table is tuned on prompts to come
    is this project's.
    """
    tokenizer = Tokenizer.from_str(encoder.backend_tokenizer.to_str())
    together = [text for part in texts for text in part]
    vectors = embed_rows_with_cache(
        encoder,
        _rows_of_tokens(tokenizer),
        cache_dir=cache_dir,
        what=f"Embedding {tokenizer.get_vocab_size():,} tokens",
    )
    parts = [embed_with_cache(encoder, part, cache_dir=cache_dir)[:, : encoder.text_dim] for part in texts]
    target = torch.cat([torch.empty(0, encoder.text_dim), *parts])
    basis = _main_directions(target if together else vectors, settings.dim)
    recipe = EncoderRecipe(normalize=True, prefix=encoder.recipe.prefix, lower_case=encoder.recipe.lower_case)
    form = PromptForm.typical(settings.form_weight) if settings.form_weight > 0 else None

    def static(table: Tensor, dtype: TableDtype) -> StaticEncoder:
        return StaticEncoder(table, tokenizer, recipe, name=name, form=form, dtype=dtype).eval()

    rows = static(torch.zeros(1, 1), "float32").tokenize_rows(together)
    weight = _token_weight(rows, [len(part) for part in texts], tokenizer.get_vocab_size())
    table = (vectors - vectors.mean(0)) @ basis * weight.unsqueeze(1)
    if not together:
        return Distilled(static(table, settings.dtype), math.nan, math.nan, 0)
    seen = [row[: encoder.max_length] for row in rows]
    mimic = Mimicry(table, seen, normalize(target @ basis, dim=-1), settings)
    before = mimic.cosine()
    num_passes = mimic.tune(state_folder / STATE_FILE)
    distilled = static(mimic.table.detach(), settings.dtype)
    mimic.table = nn.Parameter(distilled.table.detach())
    return Distilled(distilled, before, mimic.cosine(), num_passes)


class Mimicry:
    """The tuning of a token table, so that means of its vectors point where a transformer's embeddings point.

    Args:
        table: A vector for each token.
        rows: Tokens of each prompt.
        target: Where each prompt should point, of length 1.
        settings: How.
    """

    def __init__(
        self,
        table: Float[Tensor, "vocabulary dim"],
        rows: Sequence[Int[Tensor, " _token"]],
        target: Embedding,
        settings: DistillationSettings,
    ) -> None:
        self.table = nn.Parameter(table.clone())
        self.rows = rows
        self.target = target
        self.settings = settings
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(settings.seed))
        num_held_out = math.ceil(HELD_OUT * len(rows))
        self.held_out, self.train = order[:num_held_out], order[num_held_out:]
        step = settings.learning_rate * table.square().mean().sqrt().item()
        self.optimizer = torch.optim.Adam([self.table], lr=step)

    def tune(self, state: Path) -> int:
        """Tune until the cosine on held-out prompts stops rising, and keep the table of the highest.

        Args:
            state: File of an interrupted tuning; it is taken up where there is one, and removed at the end.

        Returns:
            The number of passes after which the cosine was highest.
        """
        key = digest_of_tensors({"table": self.table.detach(), "target": self.target, "train": self.train})
        best, best_cosine, best_pass, first = self.table.detach().clone(), self.cosine(), 0, 0
        if (kept := self._resume(state, key)) is not None:
            best, best_cosine, best_pass, first = kept
        bar = ProgressBar("Tuning to mimic", self.settings.num_passes, done=first)
        for number in range(first + 1, self.settings.num_passes + 1):
            if number - best_pass > PATIENCE:
                break
            self._pass_once(number)
            cosine = self.cosine()
            if cosine > best_cosine:
                best, best_cosine, best_pass = self.table.detach().clone(), cosine, number
            self._keep(state, key, best, best_cosine, best_pass, number)
            bar.advance(cosine=cosine)
        bar.close()
        state.unlink(missing_ok=True)
        with torch.no_grad():
            self.table.copy_(best)
        return best_pass

    @torch.no_grad()
    def cosine(self) -> float:
        """Mean cosine with the transformer on held-out prompts."""
        parts = [(self._embed(part) * self.target[part]).sum(-1) for part in torch.split(self.held_out, 1024)]
        return torch.cat(parts).mean().item()

    def _pass_once(self, number: int) -> None:
        generator = torch.Generator().manual_seed(self.settings.seed + number)
        for batch in self._batches(generator):
            loss = 1 - (self._embed(batch) * self.target[batch]).sum(-1).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()

    def _batches(self, generator: torch.Generator) -> Iterator[Tensor]:
        order = self.train[torch.randperm(len(self.train), generator=generator)]
        yield from torch.split(order, self.settings.batch_size)

    def _embed(self, prompts: Int[Tensor, " _"]) -> Embedding:
        rows = [self.rows[row] for row in prompts.tolist()]
        start = torch.tensor([0, *(len(row) for row in rows[:-1])]).cumsum(0)
        return normalize(embedding_bag(torch.cat(rows).long(), self.table, start, mode="mean"), dim=-1)

    def _keep(self, path: Path, key: str, best: Tensor, best_cosine: float, best_pass: int, number: int) -> None:
        adam = self.optimizer.state[self.table]
        counts = torch.tensor([best_cosine, best_pass, number], dtype=torch.float64)
        state = {"table": self.table.detach(), "best": best, "counts": counts, "key": torch.tensor(list(key.encode()))}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(path, state | {f"adam.{name}": value for name, value in adam.items()})

    def _resume(self, path: Path, key: str) -> tuple[Tensor, float, int, int] | None:
        try:
            state = read_tensors(path) if path.exists() else {}
        except ArtifactError:
            return None
        if "key" not in state or bytes(state["key"].tolist()).decode() != key:
            return None
        with torch.no_grad():
            self.table.copy_(state["table"])
        adam = {name.removeprefix("adam."): value for name, value in state.items() if name.startswith("adam.")}
        self.optimizer.state[self.table] = adam
        best_cosine, best_pass, number = state["counts"].tolist()
        return state["best"], best_cosine, int(best_pass), int(number)


def _rows_of_tokens(tokenizer: Tokenizer) -> list[Int[Tensor, " token"]]:
    """Each token of the vocabulary by itself, within the special tokens that the transformer expects."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    alone = tokenizer.encode("a")
    words = [place for place, special in enumerate(alone.special_tokens_mask) if not special]
    if not words:
        raise ArtifactError("encoder: its tokenizer makes no token of the letter a. Distil another encoder.")
    before, after = alone.ids[: words[0]], alone.ids[words[-1] + 1 :]
    return [torch.tensor([*before, token, *after], dtype=torch.int32) for token in range(tokenizer.get_vocab_size())]


def _main_directions(embedding: Float[Tensor, "_ dim"], num_directions: int) -> Float[Tensor, "dim direction"]:
    """Orthonormal directions along which embeddings are longest on average, the longest first."""
    _, directions = torch.linalg.eigh(embedding.T @ embedding / len(embedding))
    return directions.flip(1)[:, :num_directions]  # type: ignore[no-any-return]


def _token_weight(
    rows: Sequence[Int[Tensor, " _token"]], sizes: Sequence[int], num_tokens: int
) -> Float[Tensor, " vocabulary"]:
    frequency = torch.zeros(num_tokens)
    start = 0
    for size in sizes:
        count = torch.bincount(torch.cat([torch.empty(0), *rows[start : start + size]]).long(), minlength=num_tokens)
        frequency += count / count.sum().clamp(min=1) / len(sizes)
        start += size
    if not rows:
        rank = 1 / torch.arange(1, num_tokens + 1)
        frequency = rank / rank.sum()
    return COMMON / (COMMON + frequency)
