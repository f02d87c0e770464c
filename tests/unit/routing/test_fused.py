"""The kernel for CUDA without a GPU: its choices by Triton's interpreter, and that it compiles for a GPU."""

import os
import subprocess
import sys
import warnings
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest
import torch

from unirouter_torch.routing.decision import beyond_cheapest, choose_llms, order_by_cost, tie_tolerance

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")


def compare_with_tiles() -> None:
    """Ties everywhere, sizes that do and do not fill a block, masks, both precisions."""
    from unirouter_torch.routing.fused import choose_fused

    generator = torch.Generator().manual_seed(0)
    for (num_prompts, num_llms, num_clusters), dtype in product(
        [(1, 1, 1), (70, 3, 5), (100, 130, 40), (65, 65, 32)], [torch.float32, torch.bfloat16]
    ):
        ends = torch.randint(9, (num_prompts, num_clusters - 1), generator=generator).sort(1).values
        ends = torch.nn.functional.pad(ends, (0, 1), value=8)
        probability = (ends.diff(dim=1, prepend=ends.new_zeros(num_prompts, 1)) / 8).to(dtype)
        cluster_error = torch.randint(5, (num_llms, num_clusters), generator=generator) / 4
        cost = torch.randint(5, (num_llms,), generator=generator) / 4
        available = torch.rand(num_prompts, num_llms, generator=generator) < 0.3
        available[:, -1] |= ~available.any(-1)
        by_cost = order_by_cost(cost)
        added = (0.25 * beyond_cheapest(cost))[by_cost]
        for mask in (None, available):
            fused, least = choose_fused(
                probability,
                cluster_error[by_cost],
                added,
                tie_tolerance(torch.float32),
                None if mask is None else (mask, by_cost),
            )
            assert torch.equal(by_cost[fused], choose_llms(probability, cluster_error, cost, 0.25, mask))
            assert torch.isfinite(least).all()


def show_least_without_any_llm() -> None:
    from unirouter_torch.routing.fused import choose_fused

    nobody = (torch.zeros(1, 2, dtype=torch.bool), torch.arange(2))
    assert choose_fused(torch.ones(1, 1), torch.zeros(2, 1), torch.zeros(2), 1e-6, nobody)[1].isinf().all()


def compile_for_a_gpu() -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    from unirouter_torch.routing import fused

    numbers = dict.fromkeys(("num_prompts", "num_llms", "num_clusters", "num_columns"), "i32")
    pointers = {"probability_at": "*bf16", "error_at": "*fp32", "added_at": "*fp32", "open_at": "*i1"}
    places = {"column_at": "*i64", "place_at": "*i32", "least_at": "*fp32"}
    fixed = {"has_mask": True, "prompt_block": 64, "llm_block": 64, "cluster_block": 32}
    signature = pointers | places | numbers | {"tolerance": "fp32"} | dict.fromkeys(fixed, "constexpr")
    warnings.simplefilter("ignore")
    compiled = compile(ASTSource(fused._choose, signature, fixed), target=GPUTarget("cuda", 90, 32))
    assert compiled.asm["cubin"]


def run_apart(name: str, **environment: str) -> None:
    """Triton decides at its import whether it interprets."""
    code = f"import test_fused; test_fused.{name}()"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@needs_triton
def test_choices_of_the_kernel_are_those_of_the_tiles() -> None:
    run_apart("compare_with_tiles", TRITON_INTERPRET="1")


@needs_triton
def test_kernel_tells_that_a_prompt_has_no_llm() -> None:
    run_apart("show_least_without_any_llm", TRITON_INTERPRET="1")


@needs_triton
def test_kernel_compiles(tmp_path: Path) -> None:
    run_apart("compile_for_a_gpu", TRITON_CACHE_DIR=str(tmp_path))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_choices_on_a_gpu_are_those_on_the_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.randn(5000, 24, generator=generator).mul(2).softmax(-1)
    cluster_error, cost = torch.rand(300, 24, generator=generator), torch.rand(300, generator=generator)
    chosen = choose_llms(probability.cuda(), cluster_error, cost, 0.1)
    assert torch.equal(chosen.cpu(), choose_llms(probability, cluster_error, cost, 0.1))
