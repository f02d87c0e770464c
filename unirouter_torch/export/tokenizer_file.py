"""The router's tokenizer as one file that cuts and pads by itself."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor

from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.shapes import TokenMask

TOKENIZER_FILE = "tokenizer.json"

Tokenize = Callable[[Sequence[str]], tuple[Int[Tensor, "prompt token"], TokenMask]]
"""From prompts to tokens and their mask."""


def write_tokenizer(folder: Path, encoder: PromptEncoder) -> None:
    """Write ``tokenizer.json``, for the package ``tokenizers`` alone.

    Cutting at the longest prompt and padding on the right are part of the file; prefix and lower case are not.

    Args:
        folder: Where to.
        encoder: Whose tokenizer to write; it does not cut prompts in the middle.
    """
    tokenizer = Tokenizer.from_str(encoder.backend_tokenizer.to_str())
    tokenizer.enable_truncation(encoder.max_length, direction="left" if encoder.recipe.keep == "tail" else "right")
    filler = {} if encoder.pad_token is None else {"pad_id": encoder.filler, "pad_token": encoder.pad_token}
    tokenizer.enable_padding(direction="right", **filler)
    tokenizer.save(str(folder / TOKENIZER_FILE))


def read_tokenizer(folder: Path, *, prefix: str, lower_case: bool) -> Tokenize:
    """What :func:`write_tokenizer` wrote, with what it leaves out.

    Args:
        folder: Where it lies.
        prefix: Written before every prompt.
        lower_case: Whether prompts are put in lower case first.
    """
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))

    def tokenize(texts: Sequence[str]) -> tuple[Int[Tensor, "prompt token"], TokenMask]:
        texts = [prefix + text for text in texts]
        rows = tokenizer.encode_batch([text.lower() for text in texts] if lower_case else texts)
        return torch.tensor([row.ids for row in rows]), torch.tensor([row.attention_mask for row in rows])

    return tokenize
