"""Deferral curves by brute force, and instances to compare them on."""

from fractions import Fraction
from itertools import combinations
from typing import NamedTuple

import torch
from hypothesis import strategies as st


class Point(NamedTuple):
    """What the routing rule gives from a cost weight on."""

    cost_weight: Fraction
    cost: Fraction
    quality: Fraction


@st.composite
def tied_instances(draw):
    """Estimates, costs and errors on coarse dyadic grids, full of exact ties and missing pairs."""
    num_prompts, num_llms = draw(st.integers(1, 5)), draw(st.integers(1, 6))

    def matrix(elements):
        row = st.lists(elements, min_size=num_llms, max_size=num_llms)
        return torch.tensor(draw(st.lists(row, min_size=num_prompts, max_size=num_prompts)))

    cost = draw(st.lists(st.integers(0, 8), min_size=num_llms, max_size=num_llms))
    available = matrix(st.booleans())
    available[draw(st.integers(0, num_prompts - 1)), draw(st.integers(0, num_llms - 1))] = True
    return matrix(st.integers(0, 8)) / 8, torch.tensor(cost) / 4, matrix(st.integers(0, 4)) / 4, available


@st.composite
def mixed_instances(draw):
    """Generic numbers; some costs and estimates are equal, some LLMs dominated, some pairs missing."""
    num_prompts, num_llms = draw(st.integers(1, 8)), draw(st.integers(1, 9))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    estimated, error = torch.rand(2, num_prompts, num_llms, generator=generator, dtype=torch.float64)
    cost = torch.rand(num_llms, generator=generator, dtype=torch.float64).mul(draw(st.sampled_from([0.1, 3, 9]))).exp()
    repeated = torch.randint(num_llms, (2, num_llms), generator=generator)
    twins = torch.rand(num_llms, generator=generator) < draw(st.sampled_from([0.0, 0.5]))
    cost = torch.where(twins, cost[repeated[0]], cost)
    copies = torch.rand(num_prompts, num_llms, generator=generator) < draw(st.sampled_from([0.0, 0.3]))
    estimated = torch.where(copies, estimated[:, repeated[1]], estimated)
    if draw(st.booleans()):
        estimated[:, cost.argmax()] = 1.0
    available = torch.rand(num_prompts, num_llms, generator=generator) < draw(st.sampled_from([1.0, 0.7, 0.2]))
    available[draw(st.integers(0, num_prompts - 1)), draw(st.integers(0, num_llms - 1))] = True
    return estimated, cost, error, available


def random_instance(seed, num_prompts=40, num_llms=7):
    """Generic numbers, a fifth of the pairs missing."""
    generator = torch.Generator().manual_seed(seed)
    estimated = torch.rand(num_prompts, num_llms, generator=generator, dtype=torch.float64)
    cost = torch.rand(num_llms, generator=generator, dtype=torch.float64).mul(3).exp()
    error = (torch.rand(num_prompts, num_llms, generator=generator, dtype=torch.float64) < estimated).double()
    available = torch.rand(num_prompts, num_llms, generator=generator) < 0.8
    available[0] = True
    return estimated, cost, error, available


def enumerate_points(estimated, cost, error, available) -> list[Point]:
    """Rational arithmetic, a loop over all pairs of lines of a prompt, a full choice at each crossing."""
    costs = [Fraction(value) for value in cost.tolist()]
    rows = [
        [(Fraction(e), costs[h], h, Fraction(t)) for h, (e, t, a) in enumerate(zip(*row, strict=True)) if a]
        for row in zip(estimated.tolist(), error.tolist(), available.tolist(), strict=True)
    ]
    rows = [row for row in rows if row]
    weights = {Fraction(0)}
    for row in rows:
        weights |= {(a[0] - b[0]) / (b[1] - a[1]) for a, b in combinations(row, 2) if a[1] != b[1]}
    points = []
    for weight in sorted(value for value in weights if value >= 0):
        chosen = [min(row, key=lambda line, w=weight: (line[0] + w * line[1], line[1], line[2])) for row in rows]
        mean_cost, mean_error = (sum(line[part] for line in chosen) / len(rows) for part in (1, 3))
        points.append(Point(weight, mean_cost, 1 - mean_error))
    return points
