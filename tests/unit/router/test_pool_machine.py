"""Any order of changes, by two processes on one folder, keeps the pool what the changes say it is."""

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from small_router import COST, PROMPTS, small_router
from small_router import SCORES as SCORES_AT_FIRST

from unirouter_torch.errors import PoolConflictError, PoolError
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.pool_history import latest_number, read_revision
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error
from unirouter_torch.routing.drift import DriftTest
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool

NAMES = st.sampled_from(["small", "large", "other", "a", "b"])
COSTS = st.floats(0.0, 5.0)
SCORES = st.dictionaries(st.sampled_from(list(PROMPTS)), st.sampled_from([0.0, 0.5, 1.0]), min_size=1)
WRITERS = st.integers(0, 1)
OUTCOMES = st.lists(
    st.tuples(st.sampled_from(list(PROMPTS)), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=4
)

LLM = dict[str, Any]
"""What is true of an LLM; ``outcomes`` are prompt id, error and what is left of its weight, in any order."""

# a failing run is not made shorter: that takes minutes
SETTINGS = settings(max_examples=8, stateful_step_count=16, phases=[Phase.generate])


def _repriced(pool: LLMPool, name: str, price_out: float) -> LLMPool:
    if pool[name].token_cost is None:
        raise PoolError("an LLM without prices")
    return pool.with_changes(name, token_cost=replace(pool[name].token_cost, price_out=price_out))


class PoolMachine(RuleBasedStateMachine):
    """Two routers of one folder; ``states`` is what each revision must hold, as plain values."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.folder = Path(shutil.copytree(self.template, self.place / "router"))
        first = Router.from_pretrained(self.folder)
        self.writers = [first, Router.from_pretrained(self.folder)]
        self.clusters = dict(zip(PROMPTS, first.calibration.cluster_probability.double(), strict=True))
        self.states: list[list[LLM]] = [
            [_llm(name, COST[name], scores, lengths=False) for name, scores in SCORES_AT_FIRST.items()]
        ]
        self.positions = [0]
        self.known = [0, 0]

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    @rule(writer=WRITERS, name=NAMES, scores=SCORES, cost=COSTS, lengths=st.booleans())
    def add(self, writer: int, name: str, scores: dict[str, float], cost: float, lengths: bool) -> None:
        prices = (
            TokenPrices(price_in=0.01, price_out=0.1, output_tokens=dict.fromkeys(scores, 8.0)) if lengths else None
        )

        def change(llms: list[LLM]) -> list[LLM] | None:
            return None if name in _names(llms) else [*llms, _llm(name, cost, scores, lengths)]

        self._change(writer, lambda router: router.add_llm(name, scores, cost, tokens=prices), change)

    @rule(writer=WRITERS, name=NAMES, outcomes=OUTCOMES, half_life=st.sampled_from([math.inf, 2.0]))
    def observe(self, writer: int, name: str, outcomes: list[tuple[str, float]], half_life: float) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            changed = [_observed(llm, outcomes, half_life) if llm["name"] == name else llm for llm in llms]
            return changed if name in _names(llms) else None

        prompts, scores = [PROMPTS[prompt_id] for prompt_id, _ in outcomes], [score for _, score in outcomes]
        self._change(writer, lambda router: router.observe(name, prompts, scores, half_life=half_life), change)

    @rule(writer=WRITERS, name=NAMES, outcomes=OUTCOMES)
    def observe_in_another_order(self, writer: int, name: str, outcomes: list[tuple[str, float]]) -> None:
        router = self.writers[writer]
        before = router.pool
        if name not in before.names:
            return
        found = []
        for order in (outcomes, sorted(outcomes, reverse=True)):
            router.pool = before
            for prompt_id, score in order:
                router.observe(name, [PROMPTS[prompt_id]], [score])
            found.append(router.pool)
        torch.testing.assert_close(found[0].sums, found[1].sums)
        assert found[0][name].drift.num_prompts == found[1][name].drift.num_prompts
        router.pool = before

    @rule(writer=WRITERS, name=NAMES)
    def remove(self, writer: int, name: str) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            rest = [llm for llm in llms if llm["name"] != name]
            return rest if len(rest) < len(llms) and any(llm["enabled"] for llm in rest) else None

        self._change_pool(writer, lambda pool: pool.without_llm(name), change)

    @rule(writer=WRITERS, name=NAMES, new_name=NAMES)
    def rename(self, writer: int, name: str, new_name: str) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            is_fine = name in _names(llms) and (name == new_name or new_name not in _names(llms))
            return [_with(llm, name, name=new_name) for llm in llms] if is_fine else None

        self._change_pool(writer, lambda pool: pool.with_changes(name, name=new_name), change)

    @rule(writer=WRITERS, name=NAMES, cost=COSTS)
    def reprice(self, writer: int, name: str, cost: float) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            return [_with(llm, name, cost=cost) for llm in llms] if name in _names(llms) else None

        self._change_pool(writer, lambda pool: pool.with_changes(name, cost=cost), change)

    @rule(writer=WRITERS, name=NAMES, price_out=COSTS)
    def reprice_tokens(self, writer: int, name: str, price_out: float) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            is_fine = any(llm["name"] == name and llm["prices"] for llm in llms)
            return [_with(llm, name, prices=(0.01, price_out)) for llm in llms] if is_fine else None

        self._change_pool(writer, lambda pool: _repriced(pool, name, price_out), change)

    @rule(writer=WRITERS, name=NAMES, seconds=COSTS)
    def time(self, writer: int, name: str, seconds: float) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            return [_with(llm, name, seconds=seconds) for llm in llms] if name in _names(llms) else None

        self._change_pool(writer, lambda pool: pool.with_changes(name, latency=Latency(seconds=seconds)), change)

    @rule(writer=WRITERS, name=NAMES, enabled=st.booleans())
    def set_available(self, writer: int, name: str, enabled: bool) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            changed = [_with(llm, name, enabled=enabled) for llm in llms]
            return changed if name in _names(llms) and any(llm["enabled"] for llm in changed) else None

        self._change_pool(writer, lambda pool: pool.with_changes(name, is_available=enabled), change)

    @rule(writer=WRITERS)
    def undo(self, writer: int) -> None:
        position = self.positions[-1]
        if position == 0:
            with pytest.raises(PoolError, match="nothing is left"):
                self.writers[writer].undo_pool()
        else:
            self.writers[writer].undo_pool()
            back = self.positions[position - 1]
            self._saved(writer, self.states[back], back)
        self.known[writer] = len(self.states) - 1

    @rule(writer=WRITERS, number=st.integers(0, 30))
    def go_back(self, writer: int, number: int) -> None:
        target = number % len(self.states)
        self.writers[writer].undo_pool(to=target)
        self._saved(writer, self.states[target], self.positions[target])

    @rule(writer=WRITERS)
    def reload(self, writer: int) -> None:
        latest = len(self.states) - 1
        assert self.writers[writer].reload_pool() == (self.known[writer] != latest)
        self.known[writer] = latest

    @precondition(lambda self: len(self.states) < 12)
    @rule(writer=WRITERS)
    def save_whole(self, writer: int) -> None:
        if self.known[writer] < len(self.states) - 1:
            with pytest.raises(PoolConflictError):
                self.writers[writer].save_pretrained(self.folder)
        else:
            self.writers[writer].save_pretrained(self.folder)
            self._saved(writer, self.states[-1])

    @invariant()
    def the_folder_holds_what_the_changes_say(self) -> None:
        latest = latest_number(self.folder)
        assert latest == len(self.states) - 1
        self._assert_is(read_revision(self.folder, latest).pool, self.states[-1])

    @invariant()
    def a_running_router_serves_the_revision_that_it_knows(self) -> None:
        for router, known in zip(self.writers, self.known, strict=True):
            self._assert_is(router.pool, self.states[known])
            chosen = set(router.choose(list(PROMPTS.values())[:2], 0.5))
            assert chosen <= {llm["name"] for llm in self.states[known] if llm["enabled"]}

    def _assert_is(self, pool: LLMPool, llms: list[LLM]) -> None:
        assert list(pool.names) == _names(llms)
        assert pool.cost.tolist() == [llm["cost"] for llm in llms]
        assert {llm.name for llm in pool.llms if not llm.is_available} == {
            llm["name"] for llm in llms if not llm["enabled"]
        }
        assert {llm.name for llm in pool.llms if llm.drift} == {llm["name"] for llm in llms if llm["observed"]}
        seconds = {llm.name: llm.latency.seconds for llm in pool.llms if llm.latency}
        assert seconds == {llm["name"]: llm["seconds"] for llm in llms if llm["seconds"] is not None}
        prices = {llm.name: (llm.token_cost.price_in, llm.token_cost.price_out) for llm in pool.llms if llm.token_cost}
        assert prices == {llm["name"]: llm["prices"] for llm in llms if llm["prices"]}
        for row, llm in enumerate(llms):
            sums = ClusterSums(pool.sums.error[[row]], pool.sums.weight[[row]])
            torch.testing.assert_close(sums, self._sums(llm["outcomes"]), rtol=1e-4, atol=1e-4)
            if llm["prices"]:
                tokens = 8.0 * self._sums(llm["calibration"]).weight[0]
                torch.testing.assert_close(pool[llm["name"]].token_cost.token_sum, tokens, rtol=1e-4, atol=1e-4)
            if llm["observed"]:
                self._assert_tested(pool[llm["name"]].drift, llm)

    def _assert_tested(self, test: DriftTest, llm: LLM) -> None:
        """The test is that of all outcomes at once, by the sums before the first: batches leave no trace."""
        reference = self._sums(llm["calibration"])
        torch.testing.assert_close(test.reference, reference, rtol=1e-4, atol=1e-4)
        ids, errors = zip(*llm["observed"], strict=True)
        probability = torch.stack([self.clusters[prompt_id] for prompt_id in ids]).float()
        estimated = estimate_error(probability, self.writers[0].head.cluster_error(reference)).squeeze(1)
        expected = DriftTest.new(reference).after(torch.tensor(errors), estimated.detach())
        assert test.num_prompts == expected.num_prompts == len(ids)
        assert test.most_evidence == pytest.approx(expected.most_evidence, rel=1e-3)

    def _sums(self, outcomes: Sequence[tuple[str, float, float]]) -> ClusterSums:
        error = sum(weight * wrong * self.clusters[prompt_id] for prompt_id, wrong, weight in outcomes)
        weight = sum(weight * self.clusters[prompt_id] for prompt_id, _, weight in outcomes)
        return ClusterSums(torch.as_tensor(error).float()[None], torch.as_tensor(weight).float()[None])

    def _change_pool(self, writer: int, act: Any, change: Any) -> None:
        def change_router(router: Router) -> None:
            router.pool = act(router.pool)

        self._change(writer, change_router, change)

    def _change(self, writer: int, act: Any, change: Any) -> None:
        router, llms = self.writers[writer], self.states[self.known[writer]]
        changed = change(llms)
        if changed is None:
            with pytest.raises(PoolError):
                act(router)
            return
        act(router)
        if self.known[writer] < len(self.states) - 1:
            with pytest.raises(PoolConflictError):
                router.save_pool("change")
            router.reload_pool()
            self.known[writer] = len(self.states) - 1
            return
        router.save_pool("change")
        self._saved(writer, changed)

    def _saved(self, writer: int, llms: list[LLM], position: int | None = None) -> None:
        self.states.append(llms)
        self.known[writer] = len(self.states) - 1
        self.positions.append(self.known[writer] if position is None else position)


def _names(llms: list[LLM]) -> list[str]:
    return [llm["name"] for llm in llms]


def _with(llm: LLM, whose: str, **changed: Any) -> LLM:
    return llm | changed if llm["name"] == whose else llm


def _llm(name: str, cost: float, scores: dict[str, float], lengths: bool) -> LLM:
    outcomes = tuple((prompt_id, 1 - score, 1.0) for prompt_id, score in scores.items())
    prices = (0.01, 0.1) if lengths else None
    known = {"calibration": outcomes, "outcomes": outcomes, "observed": ()}
    return {"name": name, "cost": cost, "enabled": True, "prices": prices, "seconds": None} | known


def _observed(llm: LLM, outcomes: list[tuple[str, float]], half_life: float) -> LLM:
    kept = 0.5 ** (1 / half_life)
    held = llm["outcomes"]
    for prompt_id, score in outcomes:
        faded = tuple((one, error, weight * kept) for one, error, weight in held)
        held = (*faded, (prompt_id, 1 - score, 1.0))
    seen = tuple((prompt_id, 1 - score) for prompt_id, score in outcomes)
    return llm | {"outcomes": held, "observed": (*llm["observed"], *seen)}


def test_any_order_of_changes_keeps_the_pool_what_they_say(tmp_path: Path) -> None:
    small_router(tmp_path).save_pretrained(tmp_path / "router")
    PoolMachine.template = tmp_path / "router"
    run_state_machine_as_test(PoolMachine, settings=SETTINGS)
