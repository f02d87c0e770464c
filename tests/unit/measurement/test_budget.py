import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import ConfigError
from unirouter_torch.measurement.budget import Budget, BudgetSpentError, Prices, prompt_token_bound

CALLS = st.lists(st.tuples(st.floats(0, 10), st.floats(0, 1), st.integers(0, 5)), max_size=30)


def test_dollars_of_a_call() -> None:
    assert Prices(price_in=2.0, price_out=10.0).dollars(1000, 500) == (1000 * 2 + 500 * 10) / 1e6
    with pytest.raises(ConfigError, match="price_out"):
        Prices(price_in=1.0, price_out=-1.0)


def test_bound_counts_bytes_and_not_letters() -> None:
    assert prompt_token_bound("ab") + 4 == prompt_token_bound("äéü")


@given(limit=st.floats(0, 30), calls=CALLS, concurrency=st.integers(1, 5))
def test_spent_and_reserved_never_exceed_the_limit(
    limit: float, calls: list[tuple[float, float, int]], concurrency: int
) -> None:
    budget = Budget(limit)
    waiting = iter(calls)
    paid = []

    async def work() -> None:
        for worst, share, turns in waiting:
            try:
                await budget.reserve(worst)
            except BudgetSpentError:
                return
            assert budget.spent + budget.reserved <= limit * (1 + 1e-9)
            for _ in range(turns):
                await asyncio.sleep(0)
            paid.append(worst * share)
            budget.settle(worst, worst * share)

    async def everyone() -> None:
        await asyncio.gather(*(work() for _ in range(concurrency)))

    asyncio.run(everyone())
    assert budget.spent == pytest.approx(sum(paid))
    assert sum(paid) <= limit * (1 + 1e-9)


def test_call_waits_for_others_that_may_leave_enough() -> None:
    async def run() -> list[str]:
        budget, done = Budget(10.0), []
        await budget.reserve(6.0)

        async def second() -> None:
            await budget.reserve(6.0)
            done.append("second sent")

        task = asyncio.create_task(second())
        await asyncio.sleep(0)
        done.append("first settled")
        budget.settle(6.0, 1.0)
        await task
        return done

    assert asyncio.run(run()) == ["first settled", "second sent"]


def test_nothing_is_reserved_once_a_call_did_not_fit() -> None:
    async def run() -> None:
        budget = Budget(10.0, spent=9.0)
        with pytest.raises(BudgetSpentError):
            await budget.reserve(2.0)
        with pytest.raises(BudgetSpentError):
            await budget.reserve(0.5)

    asyncio.run(run())
