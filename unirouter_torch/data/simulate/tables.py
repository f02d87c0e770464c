"""The three tables of the embedded default data."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from unirouter_torch.data.simulate.answers import Answers, draw_ability, draw_answers
from unirouter_torch.data.simulate.families import FAMILIES, SimulatedPrompts, draw_prompts
from unirouter_torch.data.simulate.llms import CATALOGUE, SimulatedLLM, choose_from_catalogue
from unirouter_torch.errors import DataError

UNOBSERVED_FRACTION = 0.03
"""Share of the pairs of prompt and LLM that have no outcome."""


def simulate_tables(
    *, num_prompts: int = 6000, num_llms: int = 48, seed: int = 0
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Simulated prompts, simulated LLMs and simulated outcomes; nothing in them was measured on a real LLM.

    The generating form is item response, with a mixture of skills for each family of prompts. LLM ``h`` has an ability
    ``A(h, f)`` in family ``f``: its skills in the shares of the family, and a random part. It gives prompt ``x`` of
    difficulty ``d(x)`` (the family's, what the text shows, and a random part that no text shows) a right answer with

        P = guess + (1 - guess - lapse) * sigmoid(discrimination * (A(h, f) - d(x) + luck(h, x)))

    or, in families with marks, a mark in tenths from a Beta distribution with mean ``P``. The numbers were chosen for
    plausible accuracies and prices, and not by how any routing method does on them.

    Args:
        num_prompts: Number of prompts, from 60 to 20000; equally many of each family, or one fewer.
        num_llms: Number of LLMs, from 6 to 48, evenly spaced over the catalogue by price.
        seed: Seed of everything random, at least 0; the same seed gives the same tables.

    Returns:
        Prompts (``prompt_id``, ``prompt``, ``source``: ``simulated/`` and the family); models (``model_id``,
        ``params_b`` [billions], ``price_in`` and ``price_out`` [US dollars per million tokens], ``family``, and
        ``base_llm``, equal for offers of the same weights); outcomes (``prompt_id``, ``model_id``, ``score`` in
        [0, 1], ``output_tokens``, ``cost_usd``), without about 3% of the pairs.

    Raises:
        DataError: A number is out of range.
    """
    _check("num_prompts", num_prompts, 60, 20_000)
    _check("num_llms", num_llms, 6, len(CATALOGUE))
    _check("seed", seed, 0, 2**63 - 1)
    prompt_rng, ability_rng, answer_rng, pair_rng = np.random.default_rng(seed).spawn(4)
    chosen = choose_from_catalogue(num_llms)
    llms = [CATALOGUE[i] for i in chosen]
    prompts = draw_prompts(num_prompts, prompt_rng)
    answers = draw_answers(prompts, llms, draw_ability(ability_rng)[chosen], answer_rng)
    pairs = np.flatnonzero(pair_rng.random(num_prompts * num_llms) >= UNOBSERVED_FRACTION)
    prompt_table, llm_table = _prompt_table(prompts), _llm_table(llms)
    return prompt_table, llm_table, _outcome_table(prompt_table, llm_table, answers, pairs)


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise DataError(
            f"simulated data: {name} is {value}, expected {least} to {most}. Correct it, or bring your data."
        )


def _prompt_table(prompts: SimulatedPrompts) -> pa.Table:
    return pa.table(
        {
            "prompt_id": [f"simulated-{i:05d}" for i in range(len(prompts.text))],
            "prompt": prompts.text,
            "source": [f"simulated/{FAMILIES[i].name}" for i in prompts.family],
        }
    )


def _llm_table(llms: Sequence[SimulatedLLM]) -> pa.Table:
    columns = ("params_b", "price_in", "price_out", "family", "base_llm")
    return pa.table(
        {"model_id": [llm.name for llm in llms]}
        | {column: [getattr(llm, column) for llm in llms] for column in columns}
    )


def _outcome_table(prompts: pa.Table, llms: pa.Table, answers: Answers, pairs: np.ndarray) -> pa.Table:
    prompt, llm = np.divmod(pairs, llms.num_rows)
    return pa.table(
        {
            "prompt_id": prompts["prompt_id"].take(prompt),
            "model_id": llms["model_id"].take(llm),
            **{column: values.ravel()[pairs] for column, values in answers._asdict().items()},
        }
    )
