"""Any order of changes, by two processes on one folder, keeps the pool what the changes say it is."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from small_router import PROMPTS, small_router

from unirouter_torch.errors import PoolConflictError, PoolError
from unirouter_torch.modeling.calibration import TokenPrices
from unirouter_torch.modeling.pool_history import latest_number, read_revision
from unirouter_torch.modeling.router import Router
from unirouter_torch.routing.pool import LLMPool

NAMES = st.sampled_from(["small", "large", "other", "a", "b"])
COSTS = st.floats(0.0, 5.0)
SCORES = st.dictionaries(st.sampled_from(list(PROMPTS)), st.sampled_from([0.0, 0.5, 1.0]), min_size=1)
WRITERS = st.integers(0, 1)

LLM = dict[str, Any]


# a failing run is not made shorter: that takes minutes
SETTINGS = settings(max_examples=8, stateful_step_count=12, phases=[Phase.generate])


class PoolMachine(RuleBasedStateMachine):
    """Two routers of one folder; ``states`` is what each revision must hold, as plain values."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp())
        self.folder = Path(shutil.copytree(self.template, self.place / "router"))
        first = Router.from_pretrained(self.folder)
        self.writers = [first, Router.from_pretrained(self.folder)]
        self.states: list[list[LLM]] = [_plain(first.pool)]
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
            new = {"name": name, "cost": cost, "num": len(scores), "error": sum(1 - s for s in scores.values())}
            new |= {"enabled": True, "tokens": 8.0 * len(scores) if lengths else None}
            return None if name in _names(llms) else [*llms, new]

        self._change(
            writer, lambda router: router.add_llm(name, scores, cost, tokens=prices if lengths else None), change
        )

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

        self._change_pool(writer, lambda pool: pool.with_name(name, new_name), change)

    @rule(writer=WRITERS, name=NAMES, cost=COSTS)
    def reprice(self, writer: int, name: str, cost: float) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            return [_with(llm, name, cost=cost) for llm in llms] if name in _names(llms) else None

        self._change_pool(writer, lambda pool: pool.with_cost(name, cost), change)

    @rule(writer=WRITERS, name=NAMES, enabled=st.booleans())
    def set_available(self, writer: int, name: str, enabled: bool) -> None:
        def change(llms: list[LLM]) -> list[LLM] | None:
            changed = [_with(llm, name, enabled=enabled) for llm in llms]
            return changed if name in _names(llms) and any(llm["enabled"] for llm in changed) else None

        self._change_pool(writer, lambda pool: pool.with_availability(name, enabled), change)

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
        assert _plain(read_revision(self.folder, latest).pool) == self.states[-1]

    @invariant()
    def a_running_router_serves_the_revision_that_it_knows(self) -> None:
        for router, known in zip(self.writers, self.known, strict=True):
            assert _plain(router.pool) == self.states[known]
            chosen = set(router.choose(list(PROMPTS.values())[:2], 0.5))
            assert chosen <= {llm["name"] for llm in self.states[known] if llm["enabled"]}

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


def _plain(pool: LLMPool) -> list[LLM]:
    metered = {name: round(float(one.token_sum.sum()), 2) for name, one in pool.token_costs.items()}
    return [
        {
            "name": name,
            "cost": float(pool.cost[row]),
            "num": round(float(pool.sums.weight[row].sum()), 2),
            "error": round(float(pool.sums.error[row].sum()), 2),
            "enabled": name not in pool.disabled,
            "tokens": metered.get(name),
        }
        for row, name in enumerate(pool.names)
    ]


def test_any_order_of_changes_keeps_the_pool_what_they_say(tmp_path: Path) -> None:
    small_router(tmp_path).save_pretrained(tmp_path / "router")
    PoolMachine.template = tmp_path / "router"
    run_state_machine_as_test(PoolMachine, settings=SETTINGS)
