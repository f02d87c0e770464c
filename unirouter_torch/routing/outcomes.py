"""What was observed of LLMs on prompts, as tensors."""

from typing import NamedTuple

from unirouter_torch.shapes import Embedding, ErrorMatrix, LLMSubset, ObservedMatrix, PromptSubset


class Outcomes(NamedTuple):
    """What was observed of some LLMs on some prompts.

    Attributes:
        embedding: One vector for each prompt.
        error: Observed error of each pair, in [0, 1]; meaningless where not observed.
        observed: Which pairs were observed.
    """

    embedding: Embedding
    error: ErrorMatrix
    observed: ObservedMatrix

    def of_prompts(self, prompts: PromptSubset) -> "Outcomes":
        """The same LLMs on some of the prompts."""
        # a fraction of the time of self.embedding[prompts]
        return Outcomes(*(part.index_select(0, prompts) for part in self))

    def of_llms(self, llms: LLMSubset) -> "Outcomes":
        """Some of the LLMs on the same prompts."""
        return Outcomes(self.embedding, self.error[:, llms], self.observed[:, llms])
