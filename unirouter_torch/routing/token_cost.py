"""Costs that depend on the prompt: prices by the token, expected output tokens through the cluster probabilities."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unirouter_torch.errors import PoolError
from unirouter_torch.shapes import ClusterError, ClusterProbability, CostVector, LLMSubset

CostMatrix = Float[Tensor, "prompt llm"]
"""Expected cost of each LLM on each prompt, in the unit that the pool names."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenCost:
    """Prices by the token, and how long the answers of one LLM are in each cluster.

    Attributes:
        price_in: Cost of one token of a prompt [cost unit / token], at least 0.
        price_out: Cost of one token of an answer [cost unit / token], at least 0.
        token_sum: ``sum_j p_k(x_j) n_j`` over the calibration prompts ``j`` with an answer of ``n_j`` tokens [tokens].
        weight_sum: ``sum_j p_k(x_j)`` over the same prompts [prompts]. Both merge over disjoint sets of prompts.

    Raises:
        PoolError: A price is negative or not finite, or there is no answer.
    """

    price_in: float
    price_out: float
    token_sum: Float[Tensor, " cluster"]
    weight_sum: Float[Tensor, " cluster"]

    def __post_init__(self) -> None:
        for name, price in (("price_in", self.price_in), ("price_out", self.price_out)):
            if not 0 <= price < float("inf"):
                raise PoolError(f"{name}: got {price}, expected a finite number of at least 0.")
        if not self.weight_sum.sum() > 0:
            raise PoolError("output tokens: known for no calibration prompt, so the length of an answer is unknown.")

    @property
    def mean_output_tokens(self) -> float:
        """Mean length of an answer over all clusters [tokens]."""
        return float(self.token_sum.sum() / self.weight_sum.sum())

    def output_tokens(self, shrinkage: float) -> Float[Tensor, " cluster"]:
        """Expected length of an answer in each cluster [tokens].

        ``(token_sum_k + shrinkage * mean) / (weight_sum_k + shrinkage)``, with the mean over all answers.

        Args:
            shrinkage: Strength of the pull to the mean [prompts], positive.
        """
        return (self.token_sum + shrinkage * self.mean_output_tokens) / (self.weight_sum + shrinkage)


def sum_tokens(
    cluster_probability: ClusterProbability,
    tokens: Float[Tensor, " prompt"],
    counted: Bool[Tensor, " prompt"],
    *,
    price_in: float,
    price_out: float,
) -> TokenCost:
    """Token cost of one LLM from the lengths of its answers.

    Args:
        cluster_probability: Soft assignment of the calibration prompts; rows sum to one.
        tokens: Length of each answer [tokens]; ignored where not counted.
        counted: Which answers were counted.
        price_in: Cost of one token of a prompt [cost unit / token].
        price_out: Cost of one token of an answer [cost unit / token].
    """
    weight = counted.to(cluster_probability.dtype)
    tokens = torch.where(counted, tokens, 0.0).to(weight.dtype)
    return TokenCost(
        price_in=price_in,
        price_out=price_out,
        token_sum=tokens @ cluster_probability,
        weight_sum=weight @ cluster_probability,
    )


class PromptCost(NamedTuple):
    """What prompts cost with each LLM: that of a typical prompt, and what a prompt adds to it or takes from it.

    ``cost(x, h) = typical(h) + p(x) . by_cluster(h) + (tokens(x) - typical_tokens) * by_token(h)``. For an LLM without
    token prices only the first term is not zero.

    Attributes:
        typical: Mean over the calibration prompts [cost unit].
        by_cluster: What the answers of a cluster cost beyond the mean [cost unit].
        by_token: Price of a token of a prompt [cost unit / token].
        typical_tokens: Mean length of the calibration prompts [tokens].
    """

    typical: CostVector
    by_cluster: ClusterError
    by_token: CostVector
    typical_tokens: float

    def scaled(self, factor: float) -> "PromptCost":
        """The same costs in another unit."""
        return PromptCost(self.typical * factor, self.by_cluster * factor, self.by_token * factor, self.typical_tokens)

    def of_llms(self, llms: LLMSubset) -> "PromptCost":
        """The costs of some of the LLMs."""
        return PromptCost(self.typical[llms], self.by_cluster[llms], self.by_token[llms], self.typical_tokens)

    def of_prompts(self, cluster_probability: ClusterProbability, tokens: Float[Tensor, " prompt"]) -> CostMatrix:
        """Expected cost of each LLM on prompts of these clusters and lengths."""
        beyond = (tokens - self.typical_tokens).to(self.typical.dtype)
        by_cluster = cluster_probability.to(self.typical.dtype) @ self.by_cluster.T
        return self.typical + by_cluster + beyond[:, None] * self.by_token
