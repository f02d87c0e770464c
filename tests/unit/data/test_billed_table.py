"""Costs of a table with bills: what estimates are worth, and when ``auto`` takes them."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from miniature import ROOT

from unirouter_torch.data.load import load_table

JULIA = ROOT.parent / "shared" / "data" / "julia"
pytestmark = pytest.mark.skipif(not JULIA.is_dir(), reason=f"the table julia is not at {JULIA}")


def without(folder: Path, column: str, *, but: int = 0) -> str:
    """A copy of the table in which a column of the outcomes is known for some prompts alone."""
    shutil.copytree(JULIA, folder)
    outcomes = pq.read_table(folder / "outcomes.parquet")
    kept = set(pq.read_table(folder / "prompts.parquet")["prompt_id"].to_pylist()[:but])
    values = [
        value if prompt_id in kept else None
        for prompt_id, value in zip(outcomes["prompt_id"].to_pylist(), outcomes[column].to_pylist(), strict=True)
    ]
    place = outcomes.column_names.index(column)
    changed = outcomes.set_column(place, column, pa.array(values, outcomes.schema.field(column).type))
    pq.write_table(changed, folder / "outcomes.parquet")
    return str(folder)


@pytest.mark.filterwarnings("ignore:cost rule 'estimated'. 1 of 19 LLMs have no cost")
def test_estimates_from_list_prices_are_what_was_billed_for_most_llms() -> None:
    billed, estimated = (load_table(str(JULIA), cost_rule=rule) for rule in ("billed", "estimated"))
    assert load_table(str(JULIA)).cost.rule == "billed"
    dollars = dict(zip(billed.llm_names, billed.cost.value.tolist(), strict=True))
    ratio = torch.tensor(
        [cost / dollars[name] for name, cost in zip(estimated.llm_names, estimated.cost.value.tolist(), strict=True)]
    )
    assert len(ratio) == 18
    assert ((ratio - 1).abs() < 0.05).sum() == 14
    assert ratio.min() > 0.6 and ratio.max() < 1.9  # the list price is that of another time or host


@pytest.mark.filterwarnings("ignore:cost rule 'auto'. bills are known of 4%")
@pytest.mark.filterwarnings("ignore:cost rule 'estimated'. 1 of 19 LLMs have no cost")
def test_auto_does_not_take_the_mean_of_a_few_bills(tmp_path: Path) -> None:
    assert load_table(without(tmp_path / "few", "cost_usd", but=3)).cost.rule == "estimated"
    assert load_table(without(tmp_path / "most", "cost_usd", but=40)).cost.rule == "billed"
