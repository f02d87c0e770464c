"""The axes of this package and the tensors made of them.

One small vocabulary: ``prompt``, ``token``, ``dim`` (of an embedding), ``cluster``, ``llm``, ``calibration`` (prompts
that represent an LLM), ``weight`` (cost weights) and ``point`` (of a deferral curve). Tests check every annotation at
run time through jaxtyping's import hook.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Embedding = Float[Tensor, "prompt dim"]
"""One vector for each prompt."""

TokenEmbedding = Float[Tensor, "prompt token dim"]
"""One vector for each token of each prompt."""

TokenMask = Int[Tensor, "prompt token"]
"""1 for a token of the prompt, 0 for padding."""

ErrorMatrix = Float[Tensor, "prompt llm"]
"""Error, observed or estimated, of each LLM on each prompt, in [0, 1]."""

ErrorVector = Float[Tensor, " llm"]
"""One error for each LLM, in [0, 1]."""

ObservedMatrix = Bool[Tensor, "prompt llm"]
"""Whether an outcome was observed for the pair."""

Centroids = Float[Tensor, "cluster dim"]
"""Centre of each cluster in the space of embeddings."""

ClusterProbability = Float[Tensor, "prompt cluster"]
"""Soft assignment of each prompt to the clusters; rows sum to one."""

ClusterError = Float[Tensor, "llm cluster"]
"""Mean error of each LLM in each cluster, in [0, 1]: its feature vector."""

CostVector = Float[Tensor, " llm"]
"""Price of one prompt for each LLM, in the unit that the pool names."""

LLMIndex = Int[Tensor, " prompt"]
"""Column of one LLM for each prompt."""

PromptSource = Int[Tensor, " prompt"]
"""Number of the source that each prompt comes from."""

PromptSubset = Int[Tensor, " prompt"]
"""Row numbers of prompts in a routing table."""

LLMSubset = Int[Tensor, " llm"]
"""Column numbers of LLMs in a routing table."""
