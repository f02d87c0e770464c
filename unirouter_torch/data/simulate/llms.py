"""The catalogue of simulated LLMs: invented families, sizes, prices and skills."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

SKILLS = ("math", "code", "logic", "language", "knowledge", "instruction")
"""What an answer can take."""

REASONING_SKILLS = ("math", "code", "logic")
"""What thinking before answering improves."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way in which the same weights are offered."""

    suffix: str = ""
    """End of the name."""
    price_factor: float = 1.0
    """Price in units of the plain offer's price."""
    effort: float = 0.0
    """What thinking adds to the reasoning skills [logits]."""
    thought_tokens: int = 0
    """Typical length of the thoughts, which are paid for [tokens]."""


@dataclass(frozen=True, kw_only=True)
class LLMFamily:
    """LLMs of one invented maker and generation."""

    name: str
    """Name without the prefix ``sim-``."""
    sizes: Mapping[float, tuple[Variant, ...]]
    """Sizes [billion parameters] and how each is offered."""
    price: float
    """Price of prompts at 10 billion parameters [US dollars per million tokens]."""
    output_factor: float
    """Price of answers in units of the price of prompts."""
    generation: float
    """Ability [logits] above that of a family of the same sizes and middle age."""
    skills: Mapping[str, float] = field(default_factory=dict)
    """Strengths and weaknesses [logits]; 0 where not named."""
    verbosity: float = 1.0
    """Length of answers in units of the usual one."""


@dataclass(frozen=True, kw_only=True)
class SimulatedLLM:
    """One offer of one simulated LLM."""

    name: str
    """Name, with the prefix ``sim-``."""
    family: str
    """Name of its family."""
    base_llm: str
    """Name of its weights, which other offers may share."""
    params_b: float
    """Size [billion parameters]."""
    price_in: float
    """Price of prompts [US dollars per million tokens]."""
    price_out: float
    """Price of answers [US dollars per million tokens]."""
    skills: Mapping[str, float]
    """Ability in each of :data:`SKILLS` [logits]."""
    verbosity: float
    """Length of answers in units of the usual one."""
    thought_tokens: int
    """Typical length of its thoughts [tokens]."""


_PLAIN = (Variant(),)
_TWO_HOSTS = (Variant(), Variant(suffix="-turbo", price_factor=2.5))
_EFFORTS = (
    Variant(suffix="-brief", effort=0.2, thought_tokens=60),
    Variant(suffix="-thorough", effort=0.9, thought_tokens=600),
)

LLM_FAMILIES = (
    LLMFamily(
        name="atlas", generation=0.1, price=0.12, output_factor=2.0, skills={"instruction": 0.2},
        sizes={1.0: _PLAIN, 3.0: _PLAIN, 7.0: _PLAIN, 14.0: _PLAIN, 34.0: _PLAIN, 72.0: _TWO_HOSTS},
    ),
    LLMFamily(
        name="birch", generation=-0.9, price=0.3, output_factor=1.0, skills={"language": 0.3, "code": -0.5},
        sizes={7.0: _PLAIN, 13.0: _PLAIN, 33.0: _PLAIN, 65.0: _PLAIN, 180.0: _PLAIN}, verbosity=1.2,
    ),
    LLMFamily(
        name="cobalt", generation=-0.2, price=0.15, output_factor=2.0, verbosity=0.8,
        skills={"code": 1.5, "logic": 0.3, "knowledge": -0.7, "language": -0.7},
        sizes={3.0: _PLAIN, 7.0: _PLAIN, 16.0: _PLAIN, 33.0: _TWO_HOSTS},
    ),
    LLMFamily(
        name="delta", generation=-0.3, price=0.14, output_factor=3.0, verbosity=1.6,
        skills={"math": 1.7, "logic": 0.7, "knowledge": -0.8, "language": -0.6, "instruction": -0.3},
        sizes={2.0: _PLAIN, 7.0: _PLAIN, 32.0: _PLAIN},
    ),
    LLMFamily(
        name="ember", generation=0.5, price=0.4, output_factor=4.0, skills={"language": 0.3, "instruction": 0.4},
        sizes={8.0: _PLAIN, 30.0: _PLAIN, 120.0: _PLAIN, 400.0: _PLAIN},
    ),
    LLMFamily(
        name="fjord", generation=0.0, price=0.16, output_factor=3.0, verbosity=0.9,
        skills={"language": 1.0, "math": -0.4, "code": -0.4},
        sizes={4.0: _PLAIN, 9.0: _PLAIN, 27.0: _PLAIN, 110.0: _TWO_HOSTS},
    ),
    LLMFamily(
        name="garnet", generation=0.3, price=0.06, output_factor=4.0, skills={"math": 0.2, "code": 0.3},
        sizes={16.0: _PLAIN, 60.0: _PLAIN, 230.0: _TWO_HOSTS}, verbosity=1.3,
    ),
    LLMFamily(
        name="heron", generation=0.3, price=0.14, output_factor=2.0, skills={"logic": 0.3, "knowledge": -0.9},
        sizes={0.5: _PLAIN, 1.5: _PLAIN, 4.0: _PLAIN, 8.0: _PLAIN}, verbosity=0.7,
    ),
    LLMFamily(
        name="iris", generation=0.2, price=0.45, output_factor=3.0, skills={"knowledge": 0.7, "instruction": -0.3},
        sizes={12.0: _PLAIN, 70.0: _PLAIN, 300.0: _PLAIN}, verbosity=1.1,
    ),
    LLMFamily(
        name="jasper", generation=-0.4, price=0.25, output_factor=2.0, sizes={8.0: _PLAIN, 30.0: _PLAIN},
        skills={"knowledge": 1.2, "math": -0.6, "code": -0.7},
    ),
    LLMFamily(
        name="lumen", generation=0.4, price=0.22, output_factor=4.0, skills={"math": 0.3, "logic": 0.3},
        sizes={14.0: _EFFORTS, 70.0: _EFFORTS, 350.0: _EFFORTS}, verbosity=1.1,
    ),
)  # fmt: skip


def _offers(family: LLMFamily) -> list[SimulatedLLM]:
    offers = []
    for size, variants in family.sizes.items():
        ability = 0.1 + family.generation + 0.33 * np.log2(size / 10)
        base_llm = f"sim-{family.name}-{size:g}b"
        for variant in variants:
            price = family.price * (size / 10) ** 0.6 * variant.price_factor
            effort = dict.fromkeys(REASONING_SKILLS, variant.effort)
            skills = {skill: ability + family.skills.get(skill, 0.0) + effort.get(skill, 0.0) for skill in SKILLS}
            offers.append(
                SimulatedLLM(
                    name=base_llm + variant.suffix,
                    family=f"sim-{family.name}",
                    base_llm=base_llm,
                    params_b=size,
                    price_in=_two_figures(price),
                    price_out=_two_figures(price * family.output_factor),
                    skills=skills,
                    verbosity=family.verbosity,
                    thought_tokens=variant.thought_tokens,
                )
            )
    return offers


def _two_figures(price: float) -> float:
    return float(f"{price:.2g}")


CATALOGUE = tuple(
    sorted((llm for family in LLM_FAMILIES for llm in _offers(family)), key=lambda llm: (llm.price_out, llm.name))
)
"""All simulated LLMs, from the cheapest answers to the most expensive."""


def choose_from_catalogue(num_llms: int) -> list[int]:
    """Positions of so many LLMs, evenly over :data:`CATALOGUE`, the cheapest and the most expensive among them."""
    return [round(i * (len(CATALOGUE) - 1) / (num_llms - 1)) for i in range(num_llms)]
