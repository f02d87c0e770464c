"""The whole way from tokens to a choice as one graph of tensors."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from unirouter_torch.config.router import CHARS_PER_TOKEN
from unirouter_torch.encoder.form import NUM_BYTES, count_bytes
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.router.chooser import Chooser
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.routing.decision import beyond_cheapest, least_total, order_by_cost
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.shapes import ClusterError, CostVector, ErrorMatrix, LLMIndex, LLMSubset, TokenMask

INPUTS = ("input_ids", "attention_mask", "cost_weight", "num_characters", "byte_count")
"""What a graph takes; the last only where the encoder looks at the form of prompts."""
OUTPUTS = {
    "estimated_error": "float32 [prompt llm], in [0, 1]",
    "choice": "int64 [prompt], -1 where a prompt fits no LLM",
}
"""What it gives, and in which form."""

_WHERE_TRACED = ("stack_trace", "source_fn_stack", "from_node")


class RoutingGraph(nn.Module):
    """Encoder, head, cluster errors and routing rule of a router, without checks, names and files.

    Cluster errors and relative costs are constants of the graph: a pool that changes is exported again.

    Args:
        encoder: On the CPU. Its weights are shared, not copied, like those of the head.
        head: On the CPU.
        chooser: What chooses; the graph holds the LLMs that may be chosen, in the order of the pool.
    """

    cluster_error: ClusterError
    cost_typical: CostVector
    cost_by_cluster: ClusterError
    cost_by_token: CostVector
    context: CostVector
    by_cost: LLMSubset

    def __init__(self, encoder: PromptEncoder, head: ClusterHead, chooser: Chooser) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        llms = chooser.may_be_chosen.nonzero().squeeze(-1)
        cost = chooser.relative_cost.of_llms(llms)
        self.typical_tokens = cost.typical_tokens
        # copies: what was calibrated in this process are tensors of inference mode, which cannot be traced
        self.register_buffer("cluster_error", chooser.features[llms].clone())
        self.register_buffer("cost_typical", cost.typical.clone())
        self.register_buffer("cost_by_cluster", cost.by_cluster.float().clone())
        self.register_buffer("cost_by_token", cost.by_token.float().clone())
        context = [math.inf if llm.context_tokens is None else llm.context_tokens for llm in chooser.pool.llms]
        self.register_buffer("context", torch.tensor(context, dtype=torch.float32)[llms])
        self.register_buffer("by_cost", order_by_cost(self.cost_typical))

    def forward(
        self,
        input_ids: Int[Tensor, "prompt token"],
        attention_mask: TokenMask,
        cost_weight: Float[Tensor, " prompt"],
        num_characters: Int[Tensor, " prompt"],
        byte_count: Float[Tensor, "prompt 256"] | None = None,
    ) -> tuple[ErrorMatrix, LLMIndex]:
        """Estimated error of every LLM in [0, 1], and the column of the chosen one; equal totals as in the router.

        The column is -1 where a prompt fits no LLM.

        Args:
            input_ids: Tokens.
            attention_mask: 1 for a token of the prompt, 0 for padding.
            cost_weight: Error accepted to save one reference cost, for each prompt [1].
            num_characters: Length of each prompt, as it was before there were tokens; its cost depends on that.
            byte_count: How often each byte occurs in the UTF-8 text of each prompt; only where the encoder has a form.
        """
        embedding = self.encoder(input_ids, attention_mask)
        if self.encoder.form is not None:
            embedding = torch.cat([embedding, self.encoder.form(byte_count)], dim=1)
        probability, weight = self.head(embedding), cost_weight.unsqueeze(-1)
        estimated = estimate_error(probability, self.cluster_error)
        tokens = num_characters.unsqueeze(-1) / CHARS_PER_TOKEN
        of_prompt = probability @ self.cost_by_cluster.T + (tokens - self.typical_tokens) * self.cost_by_token
        typical = (weight * beyond_cheapest(self.cost_typical)).float()
        fits = tokens <= self.context
        total = (estimated + weight * of_prompt + typical).masked_fill(~fits, math.inf)
        return estimated, least_total(total, self.by_cost).masked_fill(~fits.any(-1), -1)


def trace(graph: RoutingGraph) -> ExportedProgram:
    """A router's graph as a ``torch.export`` program for any number of prompts and of tokens."""
    # a size of 0 or 1 would be taken for a constant
    shape = (2, 8)
    tokens, lengths = torch.ones(shape, dtype=torch.int64), torch.ones(shape[:1], dtype=torch.int64)
    example: tuple[Tensor, ...] = (tokens, tokens.clone(), torch.zeros(2), lengths, torch.ones(2, NUM_BYTES))
    example = example[: len(inputs_of(graph.encoder))]
    with torch.no_grad():
        program = torch.export.export(graph.eval(), example, dynamic_shapes=shapes_of(graph), strict=False)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            # where the code lay on this machine is nobody's business
            for key in _WHERE_TRACED:
                node.meta.pop(key, None)
    return program


def shapes_of(graph: RoutingGraph) -> dict[str, dict[int, Dim]]:
    """Which axes of the inputs vary, and how far."""
    prompt, token = Dim("prompt"), Dim("token", max=graph.encoder.max_length)
    of_tokens, of_prompts = {0: prompt, 1: token}, {0: prompt}
    return {name: of_tokens if name in INPUTS[:2] else of_prompts for name in inputs_of(graph.encoder)}


def inputs_of(encoder: PromptEncoder) -> tuple[str, ...]:
    """The inputs of the graph of a router with this encoder, in order."""
    return INPUTS[:-1] if encoder.form is None else INPUTS


def bytes_of(encoder: PromptEncoder, texts: Sequence[str]) -> tuple[Float[Tensor, "prompt 256"], ...]:
    """What the graph wants of prompts beside their tokens and lengths: nothing where the encoder has no form."""
    return () if encoder.form is None else (count_bytes(texts),)
