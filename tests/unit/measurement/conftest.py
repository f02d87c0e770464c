from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from misbehaving_endpoint import KEY, Endpoint, Run, endpoint_on_loopback

from unirouter_torch.measurement.budget import Prices
from unirouter_torch.measurement.endpoint import KEY_VARIABLE
from unirouter_torch.measurement.endpoint import Endpoint as Terms
from unirouter_torch.measurement.measure import Measurement, Question
from unirouter_torch.measurement.pace import Pace
from unirouter_torch.measurement.plan import CalibrationPlan, run_plan


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)


@pytest.fixture
def server() -> Iterator[Endpoint]:
    with endpoint_on_loopback() as endpoint:
        yield endpoint


@pytest.fixture
def plan(server: Endpoint, tmp_path: Path) -> CalibrationPlan:
    prices = Prices(price_in=1000.0, price_out=2000.0)
    return CalibrationPlan(
        endpoint=Terms(base_url=server.url, model="m", prices=prices, max_tokens=20),
        grader="exact",
        journal=tmp_path / "journal.jsonl",
        budget=100.0,
        pace=Pace(concurrency=4, timeout_seconds=30.0, retries=2, backoff_seconds=0.001),
    )


@pytest.fixture
def run(plan: CalibrationPlan) -> Run:
    """Run the plan with some settings of it, or of its pace, changed."""

    def run_with(asked: Sequence[Question], **changes: Any) -> Measurement:
        pace = {name: changes.pop(name) for name in list(changes) if hasattr(plan.pace, name)}
        return run_plan(asked, replace(plan, pace=replace(plan.pace, **pace), **changes))

    return run_with
