"""The latest known embedding of every training prompt."""

import torch
from torch import Tensor, nn

from unirouter_torch.shapes import Embedding, PromptSubset


class MemoryBank(nn.Module):
    """One embedding for each training prompt, as of the last time that it passed through the encoder.

    So an episode has all its calibration prompts, while few of them pass through the encoder. What is read has no
    gradient, and is as old as the prompt's last pass.

    Args:
        embedding: Those of the frozen encoder; copied.
    """

    embedding: Tensor

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.register_buffer("embedding", embedding.clone())  # a checkpoint needs it

    @torch.no_grad()
    def refresh(self, prompts: PromptSubset, embedding: Embedding) -> None:
        """Replace the embeddings of some prompts, and of no other.

        Args:
            prompts: Their numbers in the bank.
            embedding: Their new embeddings.
        """
        self.embedding[prompts] = embedding.detach().to(self.embedding.dtype)

    def read(self, prompts: PromptSubset) -> Embedding:
        """The embeddings of some prompts, without gradients."""
        return self.embedding.index_select(0, prompts)
