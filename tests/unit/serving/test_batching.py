import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest
import torch
from small_router import small_router

from unirouter_torch.errors import PoolError
from unirouter_torch.router.route import Route
from unirouter_torch.router.router import Router
from unirouter_torch.serving.batching import Batcher, BatchLimits, OverloadedError
from unirouter_torch.serving.metrics import Metrics

PROMPTS = [f"the {word} {verb} number {n}" for n in range(6) for word in ("otter", "kite") for verb in ("sings", "is")]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Router:
    return small_router(tmp_path_factory.mktemp("router"))


@pytest.fixture
def batches(router: Router, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the encoder was given, call by call."""
    seen: list[list[str]] = []
    embed = router.encoder.embed

    def listening(texts: list[str]) -> Any:
        seen.append(list(texts))
        return embed(texts)

    monkeypatch.setattr(router.encoder, "embed", listening)
    return seen


def with_batcher(batcher: Batcher, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of some work while the batcher runs."""

    async def both() -> Any:
        task = asyncio.create_task(batcher.run())
        try:
            return await asyncio.wait_for(work, 30)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return asyncio.run(both())


def batcher_of(router: Router, **limits: Any) -> Batcher:
    return Batcher(router, Metrics(), BatchLimits(**limits))


async def hold(batcher: Batcher) -> threading.Event:
    """Keep the thread of the router busy until the event is set."""
    released, started = threading.Event(), threading.Event()

    def wait() -> None:
        started.set()
        released.wait(30)

    task = asyncio.ensure_future(batcher.between(wait))
    while not started.is_set():
        assert not task.done()
        await asyncio.sleep(0.001)
    return released


def assert_same(found: Route, expected: Route) -> None:
    assert found.llm == expected.llm
    assert list(found.estimated_error) == list(expected.estimated_error)
    torch.testing.assert_close(list(found.estimated_error.values()), list(expected.estimated_error.values()))
    torch.testing.assert_close(list(found.cost.values()), list(expected.cost.values()))


def test_every_request_of_a_batch_gets_what_the_router_gives_it_alone(router: Router, batches: list[list[str]]) -> None:
    weights = [0.0, 0.05, 0.3, 2.0, None]
    choices = [None, ("small", "other"), ("large",)]
    asked = [(prompt, weights[n % 5], choices[n % 3]) for n, prompt in enumerate(PROMPTS)]
    batcher = batcher_of(router)

    async def ask_all() -> Any:
        released = await hold(batcher)
        tasks = [asyncio.create_task(batcher.route([prompt], weight, llms=llms)) for prompt, weight, llms in asked]
        await asyncio.sleep(0)
        released.set()
        return await asyncio.gather(*tasks)

    decisions = with_batcher(batcher, ask_all())
    assert [len(batch) for batch in batches] == [len(PROMPTS)]
    for (prompt, weight, llms), decision in zip(asked, decisions, strict=True):
        (expected,) = router.route([prompt], weight, llms=llms)
        assert_same(decision.routes[0], expected)
        assert decision.chooser.cost_weight == (0.1 if weight is None else weight)
    assert len({decision.routes[0].llm for decision in decisions}) == 3


def test_prompts_of_one_request_stay_together_and_in_order(router: Router) -> None:
    batcher = batcher_of(router, most_together=5)

    async def ask_all() -> Any:
        return await asyncio.gather(*(batcher.route(PROMPTS[start:], 0.1) for start in range(0, len(PROMPTS), 4)))

    decisions = with_batcher(batcher, ask_all())
    for start, decision in zip(range(0, len(PROMPTS), 4), decisions, strict=True):
        for found, expected in zip(decision.routes, router.route(PROMPTS[start:], 0.1), strict=True):
            assert_same(found, expected)


def test_batches_hold_no_more_than_the_limit_and_requests_take_turns(router: Router, batches: list[list[str]]) -> None:
    batcher = batcher_of(router, most_together=4)

    async def ask_all() -> Any:
        released = await hold(batcher)
        asked = [PROMPTS[:7], PROMPTS[7:8], PROMPTS[8:10]]
        tasks = [asyncio.create_task(batcher.route(prompts, 0.1)) for prompts in asked]
        await asyncio.sleep(0)
        released.set()
        return await asyncio.gather(*tasks)

    decisions = with_batcher(batcher, ask_all())
    # grouped by request within a batch
    assert batches == [[*PROMPTS[:2], PROMPTS[7], PROMPTS[8]], [PROMPTS[9], *PROMPTS[2:5]], PROMPTS[5:7]]
    expected = router.route(PROMPTS[:10], 0.1)
    for found, one in zip([route for decision in decisions for route in decision.routes], expected, strict=True):
        assert_same(found, one)


def test_clients_take_turns_however_many_requests_one_of_them_has(router: Router, batches: list[list[str]]) -> None:
    batcher = batcher_of(router, most_together=3)

    async def ask_all() -> Any:
        released = await hold(batcher)
        busy = [asyncio.create_task(batcher.route([prompt], client="busy")) for prompt in PROMPTS[:6]]
        other = asyncio.create_task(batcher.route(PROMPTS[6:8], client="other"))
        await asyncio.sleep(0)
        released.set()
        return await asyncio.gather(*busy, other)

    with_batcher(batcher, ask_all())
    assert [set(batch) for batch in batches[:2]] == [
        {PROMPTS[0], PROMPTS[6], PROMPTS[1]},
        {PROMPTS[7], PROMPTS[2], PROMPTS[3]},
    ]


def test_batches_hold_no_more_characters_than_the_limit_but_for_one_long_prompt(
    router: Router, batches: list[list[str]]
) -> None:
    batcher = batcher_of(router, most_characters_together=100)
    prompts = ["a" * 60, "b" * 40, "c", "d" * 500, "e"]
    decision = with_batcher(batcher, batcher.route(prompts))
    assert len(decision.routes) == 5
    assert batches == [prompts[:2], prompts[2:3], prompts[3:4], prompts[4:]]


def test_large_requests_leave_half_of_the_room_to_small_ones(router: Router) -> None:
    batcher = batcher_of(router, most_together=2, most_waiting=8)

    async def ask_all() -> None:
        released = await hold(batcher)
        large = asyncio.create_task(batcher.route(PROMPTS[:4]))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="4 prompts wait"):
            await batcher.route(PROMPTS[:3])
        small = asyncio.create_task(batcher.route(PROMPTS[:2]))
        released.set()
        assert len((await large).routes) == 4 and len((await small).routes) == 2

    with_batcher(batcher, ask_all())


def test_waiting_characters_are_bounded(router: Router) -> None:
    batcher = batcher_of(router, most_waiting_characters=100)

    async def ask_all() -> None:
        released = await hold(batcher)
        first = asyncio.create_task(batcher.route(["a" * 90]))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await batcher.route(["a" * 11])
        last = asyncio.create_task(batcher.route(["a" * 10]))
        released.set()
        await asyncio.gather(first, last)

    with_batcher(batcher, ask_all())


def test_cancelled_request_is_never_embedded(router: Router, batches: list[list[str]]) -> None:
    batcher = batcher_of(router)

    async def ask_all() -> Any:
        released = await hold(batcher)
        tasks = [asyncio.create_task(batcher.route([prompt])) for prompt in PROMPTS[:3]]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        released.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = with_batcher(batcher, ask_all())
    assert isinstance(second, asyncio.CancelledError)
    assert batches == [[PROMPTS[0], PROMPTS[2]]]
    assert_same(first.routes[0], router.route([PROMPTS[0]])[0])
    assert_same(third.routes[0], router.route([PROMPTS[2]])[0])


def test_too_many_waiting_prompts_are_refused_and_room_comes_back(router: Router) -> None:
    batcher = batcher_of(router, most_waiting=3)

    async def ask_all() -> None:
        released = await hold(batcher)
        tasks = [asyncio.create_task(batcher.route([prompt])) for prompt in PROMPTS[:3]]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="3 prompts wait"):
            await batcher.route(PROMPTS[:1])
        tasks[0].cancel()
        await asyncio.sleep(0.01)
        last = asyncio.create_task(batcher.route(PROMPTS[:1]))
        released.set()
        assert len((await last).routes) == 1
        await asyncio.gather(*tasks[1:])
        assert len((await batcher.route(PROMPTS)).routes) == len(PROMPTS), "an empty queue takes any request"

    with_batcher(batcher, ask_all())


def test_mistake_of_one_request_spoils_no_other(router: Router) -> None:
    batcher = batcher_of(router)

    async def ask_all() -> Any:
        asked = [
            batcher.route(PROMPTS[:1], -1.0),
            batcher.route(PROMPTS[:1], llms=["gone"]),
            batcher.route(PROMPTS[:1]),
        ]
        return await asyncio.gather(*asked, return_exceptions=True)

    negative, gone, good = with_batcher(batcher, ask_all())
    assert isinstance(negative, PoolError) and "cost_weight" in str(negative)
    assert isinstance(gone, PoolError) and "none of them" in str(gone)
    assert_same(good.routes[0], router.route(PROMPTS[:1])[0])


def test_prompt_that_fits_no_llm_spoils_no_other_request(router: Router) -> None:
    batcher, before = batcher_of(router), router.pool
    for name in before.names:
        router.pool = router.pool.with_changes(name, context_tokens=20)

    async def ask_all() -> Any:
        asked = [batcher.route(["otter " * 50]), batcher.route(PROMPTS[:1])]
        return await asyncio.gather(*asked, return_exceptions=True)

    try:
        refused, good = with_batcher(batcher, ask_all())
        assert_same(good.routes[0], router.route(PROMPTS[:1])[0])
    finally:
        router.pool = before
    assert isinstance(refused, PoolError) and "number 1 has about 75 tokens" in str(refused)


def test_failure_of_the_encoder_reaches_its_requests_and_the_next_batch_goes_on(
    router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    batcher = batcher_of(router)

    async def ask_all() -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(router.encoder, "embed", lambda _: 1 / 0)
            failed = await asyncio.gather(*(batcher.route([p]) for p in PROMPTS[:2]), return_exceptions=True)
        return failed, await batcher.route(PROMPTS[:1])

    failed, good = with_batcher(batcher, ask_all())
    assert [type(error) for error in failed] == [ZeroDivisionError] * 2
    assert len(good.routes) == 1
