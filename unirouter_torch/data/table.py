"""The routing table: prompts x LLMs with observed outcomes."""

# over 300 lines: the checks of three tables that refer to one another

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unirouter_torch.config.router import CHARS_PER_TOKEN
from unirouter_torch.data.checks import (
    check_shape,
    number_column,
    optional_text_column,
    refuse_repeats,
    refuse_rows,
    score_column,
    text_column,
    warn_of_ungraded,
)
from unirouter_torch.data.cost import CostFacts, CostRule, LLMCost, choose_cost
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER
from unirouter_torch.shapes import PromptSource
from unirouter_torch.storage import digest_of_tensors

GROUP_COLUMN = "llm_group"
"""Column of the LLMs that names which ones are the same LLM, where no other one is given."""
_PRICES = ("params_b", "price_in", "price_out")
_FACTS = ("cost_usd", "output_tokens", "output_chars")


class TablePlaces(NamedTuple):
    """Where the three parts of a table were read, for messages."""

    prompts: str
    """Place of the prompts."""
    models: str
    """Place of the LLMs."""
    outcomes: str
    """Place of the outcomes."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingTable:
    """Observed outcomes of LLMs on prompts, in an order that no file decides."""

    name: str
    """What to call the table."""
    prompts: pa.Table
    """Columns ``prompt_id``, ``prompt``, ``source``; one row for each prompt, sorted by ``prompt_id``."""
    llms: pa.Table
    """Columns ``model_id``, ``params_b`` [billions], ``price_in`` and ``price_out`` [US dollars per million tokens],
    and whatever else was given; one row for each LLM, sorted by ``model_id``."""
    error: Float[Tensor, "prompt llm"]
    """1 - score, in [0, 1], float32; 0 where not observed."""
    observed: Bool[Tensor, "prompt llm"]
    """Whether the pair has an outcome; true somewhere in each row and each column."""
    pair_cost: Float[Tensor, "prompt llm"] | None
    """Billed cost of each pair [US dollars], float64, NaN where not given; None if given nowhere."""
    cost: LLMCost
    """What one prompt costs with each LLM."""
    group: Int[Tensor, " llm"]
    """Equal numbers for LLMs that are the same LLM; a split never parts them."""
    content_hash: str
    """SHA-256 of prompts, sources, LLM names, costs, groups and outcomes; neither the order of rows in the files nor
    the form of the files matters."""

    @property
    def num_prompts(self) -> int:
        """Number of prompts."""
        return int(self.prompts.num_rows)

    @property
    def num_llms(self) -> int:
        """Number of LLMs."""
        return int(self.llms.num_rows)

    @property
    def prompt_ids(self) -> list[str]:
        """Identifier of each prompt."""
        return _texts(self.prompts, "prompt_id")

    @property
    def prompt_texts(self) -> list[str]:
        """Text of each prompt."""
        return _texts(self.prompts, "prompt")

    @property
    def sources(self) -> list[str]:
        """Where each prompt comes from."""
        return _texts(self.prompts, "source")

    @property
    def source_names(self) -> list[str]:
        """The different sources, sorted."""
        return sorted(set(self.sources))

    @property
    def source_index(self) -> PromptSource:
        """Position in ``source_names`` of the source of each prompt."""
        number = {name: position for position, name in enumerate(self.source_names)}
        return torch.tensor([number[source] for source in self.sources])

    @property
    def llm_names(self) -> list[str]:
        """Name of each LLM."""
        return _texts(self.llms, "model_id")

    def describe(self) -> dict[str, str | int | float | bool]:
        """Facts about the table for reports, as JSON values."""
        return {
            "name": self.name,
            "content_hash": self.content_hash,
            "num_prompts": self.num_prompts,
            "num_llms": self.num_llms,
            "observed_fraction": self.observed.double().mean().item(),
            "cost_rule": self.cost.rule,
            "cost_unit": self.cost.unit,
            "is_estimate": self.cost.is_estimate,
        }


def build_table(
    prompts: pa.Table,
    models: pa.Table,
    outcomes: pa.Table,
    *,
    name: str,
    places: TablePlaces,
    cost_rule: CostRule = "auto",
    group_column: str | None = None,
    same_llm: Sequence[Sequence[str]] = (),
    conversation: str = LAST_USER,
) -> RoutingTable:
    """Check three tables and join them into a routing table.

    LLMs without a cost, prompts without an outcome, and outcomes without a score are left out with a warning. Of
    several outcomes of one prompt and LLM the mean counts, with a warning that says how many there are.

    Args:
        prompts: ``prompt_id``, ``prompt``, and ``source`` (``unknown`` where not given).
        models: ``model_id``, and where known ``params_b``, ``price_in``, ``price_out``; other columns are kept.
        outcomes: ``prompt_id``, ``model_id``, ``score`` in [0, 1], and where known ``cost_usd``, ``output_tokens``,
            ``output_chars``.
        name: What to call the table.
        places: Where the three were read, for messages.
        cost_rule: What an LLM costs; see :func:`unirouter_torch.data.cost.choose_cost`.
        group_column: Column of ``models`` with equal values for the same LLM, ``llm_group`` where not given; null is a
            group of its own.
        same_llm: Lists of ``model_id`` that are the same LLM, joined with the groups of the column.
        conversation: The rule by which a conversation becomes its prompt.

    Returns:
        The table, sorted by ``prompt_id`` and ``model_id``.

    Raises:
        DataError: A column is missing or of the wrong type, a value is out of range, a prompt or an LLM is
            repeated or unknown, a table is empty, an LLM has no outcome, or no cost is known.
    """
    prompts = _checked_prompts(prompts, places.prompts, conversation)
    models = _checked_models(models, places.models)
    outcomes = _checked_outcomes(outcomes, places.outcomes)
    _refuse_llms_without_outcome(models, outcomes, places)
    prompts, models = prompts.sort_by("prompt_id"), models.sort_by("model_id")
    outcomes = outcomes.append_column("pair", _pair_numbers(prompts, models, outcomes, places))
    outcomes = _means_of_graded(outcomes, places.outcomes)
    pair = torch.tensor(outcomes["pair"].to_numpy())
    error = _scatter(pair, pc.subtract(1.0, outcomes["score"]), prompts, models)
    facts = _cost_facts(pair, prompts, models, outcomes)
    group = _groups(models, group_column, same_llm, places.models)

    cost, llms = choose_cost(cost_rule, facts, _texts(models, "model_id"))
    observed = ~error[:, llms].isnan()
    rows = observed.any(dim=1).nonzero().squeeze(1)
    if len(rows) < prompts.num_rows:
        message = f"{prompts.num_rows - len(rows)} of {prompts.num_rows} prompts have no outcome and are left out."
        warnings.warn(f"{places.prompts}: {message}", UserWarning, stacklevel=2)
    prompts, models = prompts.take(rows.numpy()), models.take(llms.numpy())
    tensors = {
        "error": error[rows][:, llms].nan_to_num(nan=0.0).float(),
        "observed": observed[rows],
        "group": torch.unique(group[llms], return_inverse=True)[1],
    }
    billed = facts.pair_cost[rows][:, llms]
    return RoutingTable(
        name=name,
        prompts=prompts,
        llms=models,
        pair_cost=None if billed.isnan().all() else billed,
        cost=cost,
        content_hash=_content_hash(prompts, models, {**tensors, "cost": cost.value}),
        **tensors,
    )


def _checked_prompts(table: pa.Table, place: str, conversation: str) -> pa.Table:
    check_shape(table, place)
    prompt_id = text_column(table, "prompt_id", place)
    refuse_repeats(prompt_id, prompt_id, place=place, column="prompt_id")
    source = pc.fill_null(optional_text_column(table, "source", place), "unknown")
    prompt = text_column(table, "prompt", place, conversation)
    return pa.table({"prompt_id": prompt_id, "prompt": prompt, "source": source})


def _checked_models(table: pa.Table, place: str) -> pa.Table:
    check_shape(table, place)
    model_id = text_column(table, "model_id", place)
    refuse_repeats(model_id, model_id, place=place, column="model_id")
    known = {"model_id": model_id} | {column: number_column(table, column, place) for column in _PRICES}
    others = {column: table[column] for column in table.column_names if column not in known}
    return pa.table(known | others)


def _checked_outcomes(table: pa.Table, place: str) -> pa.Table:
    check_shape(table, place)
    return pa.table(
        {
            "prompt_id": text_column(table, "prompt_id", place),
            "model_id": text_column(table, "model_id", place),
            "score": score_column(table, place),
            **{name: number_column(table, name, place) for name in _FACTS},
        }
    )


def _means_of_graded(outcomes: pa.Table, place: str) -> pa.Table:
    """The outcomes with a score, one of each pair: where there are several, means of what is known of them."""
    warn_of_ungraded(outcomes["score"], place)
    graded = outcomes.filter(pc.is_valid(outcomes["score"]))
    num_pairs = pc.count_distinct(graded["pair"]).as_py()
    if num_pairs == graded.num_rows:
        return graded
    repeats = f"{graded.num_rows - num_pairs} of {graded.num_rows} outcomes repeat a prompt and an LLM"
    warnings.warn(f"{place}: {repeats}; the mean of the repeats counts.", UserWarning, stacklevel=2)
    facts = ["score", *_FACTS]
    means = graded.group_by("pair", use_threads=False).aggregate([(name, "mean") for name in facts])
    return means.rename_columns([name.removesuffix("_mean") for name in means.column_names])


def _refuse_llms_without_outcome(models: pa.Table, outcomes: pa.Table, places: TablePlaces) -> None:
    model_id = models["model_id"]
    graded = outcomes.filter(pc.is_valid(outcomes["score"]))
    absent = pc.invert(pc.is_in(model_id, value_set=pc.unique(graded["model_id"])))
    expected = f"an LLM with at least one outcome in {places.outcomes}. Add its outcomes, or remove the LLM."
    refuse_rows(absent, model_id, place=places.models, column="model_id", expected=expected)


def _pair_numbers(prompts: pa.Table, models: pa.Table, outcomes: pa.Table, places: TablePlaces) -> pa.Array:
    """Row of the prompt * number of LLMs + row of the LLM, of each outcome."""
    numbers = []
    for table, column, place in ((prompts, "prompt_id", places.prompts), (models, "model_id", places.models)):
        number = pc.index_in(outcomes[column], value_set=table[column])
        expected = f"one of those in {place}. Add it there, or remove its outcomes."
        refuse_rows(pc.is_null(number), outcomes[column], place=places.outcomes, column=column, expected=expected)
        numbers.append(number.cast(pa.int64()).combine_chunks())
    return pc.add(pc.multiply(numbers[0], models.num_rows), numbers[1])


def _scatter(
    pair: Int[Tensor, " outcome"], values: pa.ChunkedArray, prompts: pa.Table, models: pa.Table
) -> Float[Tensor, "prompt llm"]:
    matrix = torch.full((prompts.num_rows, models.num_rows), torch.nan, dtype=torch.float64)
    matrix.view(-1)[pair] = _numbers(values)
    return matrix


def _cost_facts(pair: Int[Tensor, " outcome"], prompts: pa.Table, models: pa.Table, outcomes: pa.Table) -> CostFacts:
    estimated_tokens = pc.divide(outcomes["output_chars"], float(CHARS_PER_TOKEN))
    observed = torch.zeros(prompts.num_rows, models.num_rows, dtype=torch.bool)
    observed.view(-1)[pair] = True
    return CostFacts(
        observed=observed,
        pair_cost=_scatter(pair, outcomes["cost_usd"], prompts, models),
        output_tokens=_scatter(pair, pc.coalesce(outcomes["output_tokens"], estimated_tokens), prompts, models),
        prompt_tokens=_numbers(pc.utf8_length(prompts["prompt"])) / CHARS_PER_TOKEN,
        **{column: _numbers(models[column]) for column in _PRICES},
    )


def _groups(
    models: pa.Table, group_column: str | None, same_llm: Sequence[Sequence[str]], place: str
) -> Int[Tensor, " llm"]:
    group = torch.arange(models.num_rows)
    for members in (*_column_groups(models, group_column, place), *_listed_groups(models, same_llm, place)):
        joined = torch.unique(group[members])
        group[torch.isin(group, joined)] = joined[:1]
    return group


def _column_groups(models: pa.Table, group_column: str | None, place: str) -> Iterator[Int[Tensor, " member"]]:
    if group_column is None:
        if GROUP_COLUMN not in models.column_names:
            return
        group_column = GROUP_COLUMN
    if group_column not in models.column_names:
        names = ", ".join(models.column_names)
        raise DataError(f"{place}: got no column {group_column!r}; data.group_column expects one of {names}.")
    values = optional_text_column(models, group_column, place)
    codes = torch.tensor(pc.fill_null(pc.dictionary_encode(values).indices, -1).to_numpy())
    for code in range(int(codes.max()) + 1):
        yield (codes == code).nonzero().squeeze(1)


def _listed_groups(models: pa.Table, same_llm: Sequence[Sequence[str]], place: str) -> Iterator[Int[Tensor, " member"]]:
    column = {name: number for number, name in enumerate(_texts(models, "model_id"))}
    for names in same_llm:
        unknown = [name for name in names if name not in column]
        if unknown:
            raise DataError(f"data.same_llm: got {unknown[0]!r}, expected a model_id of {place}. Correct its spelling.")
        yield torch.tensor([column[name] for name in names], dtype=torch.long)


def _content_hash(prompts: pa.Table, models: pa.Table, tensors: dict[str, Tensor]) -> str:
    texts = [_texts(prompts, column) for column in ("prompt_id", "prompt", "source")] + [_texts(models, "model_id")]
    return hashlib.sha256(f"{json.dumps(texts)}{digest_of_tensors(tensors)}".encode()).hexdigest()


def _texts(table: pa.Table, column: str) -> list[str]:
    texts: list[str] = table[column].to_pylist()
    return texts


def _numbers(values: pa.ChunkedArray) -> Float[Tensor, " value"]:
    return torch.tensor(values.cast(pa.float64()).to_numpy())
