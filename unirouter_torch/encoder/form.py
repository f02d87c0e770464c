"""The form of a prompt: numbers on its surface, which say how difficult it is where topics do not.

They are computed from the bytes of the text, of which every language can count how often each occurs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from unirouter_torch.errors import ArtifactError
from unirouter_torch.shapes import Embedding

NUM_BYTES = 256
"""Values of a byte."""
FARTHEST = 4.0
"""How far a feature may lie from its mean [standard deviations]; beyond it is cut."""

_COUNTED_AT_ONCE = 512
_LEADING = bytes(byte for byte in range(NUM_BYTES) if not 0x80 <= byte < 0xC0)
FORM_FEATURES: Mapping[str, bytes] = {
    "characters": _LEADING,
    "non_ascii": bytes(range(0xC0, NUM_BYTES)),
    "whitespace": b" \t\n\r",
    "lines": b"\n",
    "digits": b"0123456789",
    "capitals": b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "sentence_marks": b".!;:",
    "questions": b"?",
    "commas": b",",
    "quotes": b"\"'`",
    "braces": b"{}[]",
    "parentheses": b"()",
    "latex": b"$\\^",
    "operators": b"+-*/=<>%",
    "code_marks": b"_#@&|~",
}
"""Each feature is the logarithm of 1 + how many of these bytes of the UTF-8 text a prompt has."""

_TYPICAL = {
    "characters": (6.17, 0.97),
    "non_ascii": (0.08, 0.37),
    "whitespace": (4.43, 0.95),
    "lines": (2.16, 1.29),
    "digits": (1.62, 1.10),
    "capitals": (2.98, 1.12),
    "sentence_marks": (2.55, 1.10),
    "questions": (0.79, 0.60),
    "commas": (1.36, 1.09),
    "quotes": (1.36, 1.24),
    "braces": (0.61, 0.89),
    "parentheses": (0.58, 0.90),
    "latex": (0.33, 0.84),
    "operators": (1.63, 1.27),
    "code_marks": (0.22, 0.67),
}


class PromptForm(nn.Module):
    """Standardised surface features, to stand beside an embedding.

    ``clip((log(1 + count) - mean) / deviation, -4, 4) * weight / sqrt(number of features)``, so that with weight 1 they
    are together as long as an embedding of length 1.

    Args:
        mean: Mean of each feature over typical prompts.
        deviation: Standard deviation of each feature over typical prompts, positive.
        weight: Length of the features beside an embedding of length 1, positive.
    """

    mean: Float[Tensor, " form"]
    deviation: Float[Tensor, " form"]
    membership: Float[Tensor, "form 256"]

    def __init__(self, mean: Float[Tensor, " form"], deviation: Float[Tensor, " form"], weight: float) -> None:
        super().__init__()
        self.weight = weight
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        membership = torch.zeros(len(FORM_FEATURES), NUM_BYTES)
        for row, members in enumerate(FORM_FEATURES.values()):
            membership[row, list(members)] = 1
        self.register_buffer("membership", membership, persistent=False)

    @classmethod
    def typical(cls, weight: float) -> "PromptForm":
        """Standardised by what is typical of prompts: the mean over five public tables, each counted alike."""
        mean, deviation = torch.tensor([_TYPICAL[name] for name in FORM_FEATURES]).T
        return cls(mean, deviation, weight)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> "PromptForm":
        """What :meth:`to_json` gave.

        Raises:
            ArtifactError: It is of other features than this version computes.
        """
        if list(facts["mean"]) != list(FORM_FEATURES):
            raise ArtifactError(
                f"form of prompts: got the features {list(facts['mean'])}, expected {list(FORM_FEATURES)}. "
                "Load the router with the version of unirouter_torch that wrote it."
            )
        mean, deviation = (torch.tensor(list(facts[name].values())) for name in ("mean", "deviation"))
        return cls(mean, deviation, facts["weight"])

    def to_json(self) -> dict[str, Any]:
        """All that decides the features, as JSON types."""
        columns = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        return {"weight": self.weight} | {
            name: dict(zip(FORM_FEATURES, values, strict=True)) for name, values in columns.items()
        }

    @property
    def dim(self) -> int:
        """Number of features."""
        return len(FORM_FEATURES)

    def forward(self, byte_count: Float[Tensor, "prompt 256"]) -> Float[Tensor, "prompt form"]:
        """Features of prompts.

        Args:
            byte_count: How often each byte occurs in the UTF-8 text of each prompt.
        """
        # of one prompt `byte_count @ membership.T` is no faster, but waits for all threads of torch
        feature = torch.log1p(linear(byte_count, self.membership))
        scaled = ((feature - self.mean) / self.deviation).clamp(-FARTHEST, FARTHEST)
        return scaled * (self.weight / math.sqrt(self.dim))

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> Embedding:
        """Features of prompts, on the CPU."""
        features: Embedding = self(count_bytes(texts).to(self.mean.device))
        return features.cpu()


def count_bytes(texts: Sequence[str]) -> Float[Tensor, "prompt 256"]:
    """How often each byte occurs in the UTF-8 text of each prompt; half of a surrogate pair counts as a question mark.

    Args:
        texts: Prompts.
    """
    count = torch.zeros(len(texts), NUM_BYTES)
    for row in range(0, len(texts), _COUNTED_AT_ONCE):
        encoded = [text.encode(errors="replace") for text in texts[row : row + _COUNTED_AT_ONCE]]
        place = np.repeat(np.arange(len(encoded)) * NUM_BYTES, [len(text) for text in encoded])
        place += np.frombuffer(b"".join(encoded), dtype=np.uint8)
        part = np.bincount(place, minlength=len(encoded) * NUM_BYTES).reshape(len(encoded), NUM_BYTES)
        count[row : row + len(encoded)] = torch.from_numpy(part)
    return count
