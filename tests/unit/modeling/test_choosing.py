"""Cautious choices."""

from pathlib import Path

import pytest
import torch
from small_router import PROMPTS, small_router

from unirouter_torch.errors import PoolError
from unirouter_torch.modeling import choosing
from unirouter_torch.modeling.choosing import cluster_errors, tune_on_calibration
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.target import Target


@torch.inference_mode()
def test_less_known_llm_is_taken_for_a_worse_one_the_more_caution_is_asked_for(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    every = dict.fromkeys(PROMPTS, 1.0)
    router.add_llm("known", every, 0.0)
    router.pool = router.pool.select(["known"])
    router.add_llm("lucky", {"p0": 1.0}, 0.0)
    mean, bound, higher = (cluster_errors(router.head, router.pool, caution) for caution in (None, 0.9, 0.99))
    assert (mean <= bound).all() and (mean < higher).all() and (bound < higher).all()
    added = bound - mean
    assert (added[1] > added[0]).all()


def test_route_estimates_and_chooses_by_the_bound(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    prompts = list(PROMPTS.values())
    for route, plain in zip(router.route(prompts, 0.0, caution=0.9), router.route(prompts, 0.0), strict=True):
        assert all(route.estimated_error[name] >= plain.estimated_error[name] for name in router.pool.names)
        assert route.estimated_error != plain.estimated_error
        assert route.estimated_error[route.llm] == pytest.approx(min(route.estimated_error.values()), abs=1e-5)


@torch.inference_mode()
def test_large_pool_has_the_bounds_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    router = small_router(tmp_path)
    whole = cluster_errors(router.head, router.pool, 0.8)
    monkeypatch.setattr(choosing, "_LLMS_AT_ONCE", 2)
    torch.testing.assert_close(cluster_errors(router.head, router.pool, 0.8), whole)


@pytest.mark.parametrize("caution", [0.0, 0.4, 1.0, float("nan")])
def test_caution_that_is_no_upper_bound_is_refused(tmp_path: Path, caution: float) -> None:
    with pytest.raises(PoolError, match="caution"):
        small_router(tmp_path).route(["the otter"], caution=caution)


def test_target_of_an_empty_pool_is_refused(tmp_path: Path) -> None:
    router = small_router(tmp_path)
    target = Target(kind="saving", value=0.5)
    with pytest.raises(PoolError, match="pool: empty"):
        tune_on_calibration(router.head, router.calibration, LLMPool.empty(router.head.num_clusters), target)
