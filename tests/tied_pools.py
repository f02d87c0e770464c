"""Pools and prompts full of exact ties, and the routing rule pair by pair."""

import torch
from hypothesis import strategies as st

dyadic_weights = st.sampled_from([0.0, 0.125, 0.5, 1.0, 4.0])


@st.composite
def tied_pools(draw):
    """Prompts and LLMs on coarse dyadic grids, so that all sums are exact and many are equal."""
    num_prompts, num_llms, num_clusters = draw(st.integers(1, 12)), draw(st.integers(1, 12)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    ends = torch.randint(9, (num_prompts, num_clusters - 1), generator=generator).sort(1).values
    probability = torch.nn.functional.pad(ends, (0, 1), value=8).diff(dim=1, prepend=ends.new_zeros(num_prompts, 1)) / 8
    cluster_error = torch.randint(5, (num_llms, num_clusters), generator=generator) / 4
    return probability, cluster_error, torch.randint(5, (num_llms,), generator=generator) / 4


def enumerate_choices(probability, cluster_error, cost, weight, available=None) -> list[int]:
    """The rule, pair by pair, in exact arithmetic."""
    total = probability.double() @ cluster_error.double().T + weight * cost.double()
    is_open = torch.ones_like(total, dtype=torch.bool) if available is None else available
    return [
        min((sums[llm], float(cost[llm]), llm) for llm in range(len(cost)) if may[llm])[2]
        for sums, may in zip(total.tolist(), is_open.tolist(), strict=True)
    ]
