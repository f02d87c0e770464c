"""Time the choice of an LLM against plain implementations and K-NN; pruning, and one more LLM.

python scripts/benchmark_scoring.py --output runs/benchmark_scoring.json --routers runs/zeroeval/router
"""

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from unittest.mock import patch

import numpy as np
import torch
from sklearn.neighbors import KNeighborsRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.metrics.stages import measure
from unirouter_torch.progress import progress
from unirouter_torch.router.router import Router
from unirouter_torch.routing import decision
from unirouter_torch.routing.cluster_error import ClusterSums, sum_by_cluster
from unirouter_torch.routing.decision import beyond_cheapest, choose_llms, order_by_cost, tie_tolerance
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.pooled_llm import PooledLLM
from unirouter_torch.routing.pruning import undominated_llms
from unirouter_torch.storage import write_json

COST_WEIGHT = 0.1
COST_WEIGHTS = (0.0, 0.01, 0.1, 1.0)
"""Where pruning is looked at on real tables."""

BAR = (1_000_000, 1_000, 64)
"""Prompts, LLMs and clusters of the bar."""

SHAPES = (
    *((num_prompts, 50, 32) for num_prompts in (1, 10, 100, 1_000, 10_000)),
    *((num_prompts, 1_000, 64) for num_prompts in (1, 10, 100, 1_000, 10_000, 100_000)),
    *((10_000, num_llms, 64) for num_llms in (10, 100, 1_000, 10_000)),
    *((10_000, 1_000, num_clusters) for num_clusters in (16, 64, 256, 1_024)),
    BAR,
)
QUICK_SHAPES = ((1, 10, 4), (200, 70, 8))

MOST_OPERATIONS = 2**37
"""Prompts x LLMs x clusters that are tried at most."""

NUM_CALIBRATION, DIM, NUM_NEIGHBORS = 400, 384, 20
"""Calibration prompts, length of an embedding, and neighbours of K-NN."""

TIMED = (10_000, 100, 32)
"""Prompts, LLMs and clusters where all but the choice itself is timed."""


Matrix: TypeAlias = np.ndarray[Any, Any]


class Instance(NamedTuple):
    """Made prompts and LLMs, of which none is dominated: nothing can be pruned."""

    cluster_probability: Tensor
    cluster_error: Tensor
    cost: Tensor


def make_instance(num_prompts: int, num_llms: int, num_clusters: int) -> Instance:
    """Peaked cluster probabilities, cluster errors and costs that have nothing to do with one another."""
    generator = torch.Generator().manual_seed(0)
    probability = torch.randn(num_prompts, num_clusters, generator=generator).mul_(2).softmax(-1)
    return Instance(
        probability, torch.rand(num_llms, num_clusters, generator=generator), torch.rand(num_llms, generator=generator)
    )


def choose_by_numpy(instance: Instance) -> Tensor:
    """The rule as one writes it down in NumPy."""
    probability, cluster_error, cost = (part.numpy() for part in instance)
    return torch.from_numpy((probability @ cluster_error.T + np.float32(COST_WEIGHT) * cost).argmin(1))


def choose_plainly(instance: Instance) -> Tensor:
    """The rule as one writes it down in torch."""
    return (instance.cluster_probability @ instance.cluster_error.T + COST_WEIGHT * instance.cost).argmin(1)


def choose_checked(instance: Instance) -> Tensor:
    """The same with the checks that ``choose_llms`` makes, but without its rule for ties."""
    probability, cluster_error, cost = instance
    if probability.shape[1] != cluster_error.shape[1] or cost.shape != cluster_error.shape[:1]:
        raise ValueError("shapes")
    if not torch.isfinite(cost).all():
        raise ValueError("cost")
    least, chosen = (probability @ cluster_error.T + COST_WEIGHT * cost).min(1)
    if not torch.isfinite(least).all():
        raise ValueError("estimates")
    return chosen


def _repeat(function: Callable[[], Any], times: int) -> None:
    for _ in range(times):
        function()


def time_all(
    work: dict[str, Callable[[], Any]], repeats: int, times: int = 1, *, on_the_clock: bool = False
) -> tuple[dict[str, float], dict[str, int | None]]:
    """The least processor time [seconds] of each piece of work over alternating repeats, and its largest peak [bytes].

    With one thread on a machine of one's own that is the time on the clock; on a shared one it is steadier. With
    several threads, or on a GPU, the time ``on_the_clock`` is what counts. A short piece of work is done many ``times``
    in each repeat.
    """
    seconds: dict[str, float] = dict.fromkeys(work, float("inf"))
    peaks: dict[str, int | None] = {}
    for _ in range(repeats):
        for name, function in work.items():
            taken = measure(partial(_repeat, function, times))[1]
            its_seconds = taken.wall_seconds if on_the_clock else taken.cpu_seconds
            seconds[name] = min(seconds[name], its_seconds / times)
            peaks[name] = max(filter(None, (peaks.get(name), taken.peak_bytes)), default=taken.peak_bytes)
    return seconds, peaks


def benchmark_scoring(num_prompts: int, num_llms: int, num_clusters: int, repeats: int) -> dict[str, Any]:
    """One shape: the choice beside the plain ones and the bare matrix product."""
    instance = make_instance(num_prompts, num_llms, num_clusters)
    work: dict[str, Callable[[], Any]] = {
        "unirouter": lambda: choose_llms(*instance, COST_WEIGHT),
        "torch": lambda: choose_plainly(instance),
        "torch_checked": lambda: choose_checked(instance),
        "numpy": lambda: choose_by_numpy(instance),
        "product": lambda: instance.cluster_probability @ instance.cluster_error.T,
    }
    seconds, peaks = time_all(work, repeats, times=max(1, 1_000 // num_prompts))
    return instance_sizes(instance) | {
        "seconds": seconds,
        "peak_bytes": peaks,
        "times_as_fast": {name: seconds[name] / seconds["unirouter"] for name in ("torch", "torch_checked", "numpy")},
        "to_product": seconds["unirouter"] / seconds["product"],
        "same_choices": float((work["unirouter"]() == work["torch"]()).float().mean()),
    }


def find_neighbors(calibration: Matrix) -> dict[str, Callable[[Matrix], Matrix]]:
    """Ways to find the nearest calibration prompts, of the libraries that are installed."""
    regressor = KNeighborsRegressor(NUM_NEIGHBORS).fit(calibration, np.zeros(len(calibration)))
    ways: dict[str, Callable[[Matrix], Matrix]] = {
        "scikit-learn": lambda embedding: regressor.kneighbors(embedding, return_distance=False)
    }
    if importlib.util.find_spec("faiss") is not None:
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatL2(calibration.shape[1])
        index.add(calibration)
        ways["faiss"] = lambda embedding: index.search(embedding, NUM_NEIGHBORS)[1]
    return ways


def benchmark_neighbors(num_prompts: int, num_llms: int, num_clusters: int, repeats: int) -> dict[str, Any]:
    """From embeddings to choices: clusters beside K-NN over the calibration prompts."""
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(num_prompts, DIM, generator=generator)
    calibration = torch.randn(NUM_CALIBRATION, DIM, generator=generator).numpy()
    error = torch.rand(NUM_CALIBRATION, num_llms, generator=generator).numpy()
    _, cluster_error, cost = make_instance(1, num_llms, num_clusters)
    weighted, head = COST_WEIGHT * cost.numpy(), ClusterHead(DIM, num_clusters)
    work: dict[str, Callable[[], Any]] = {
        "unirouter": lambda: choose_llms(head(embedding), cluster_error, cost, COST_WEIGHT)
    }

    def choose_by(find: Callable[[Matrix], Matrix]) -> Matrix:
        chosen: Matrix = (error[find(embedding.numpy())].mean(1) + weighted).argmin(1)
        return chosen

    work |= {name: partial(choose_by, find) for name, find in find_neighbors(calibration).items()}
    seconds, _ = time_all(work, repeats, times=max(1, 100 // num_prompts))
    sizes = {"num_prompts": num_prompts, "num_llms": num_llms, "num_clusters": num_clusters, "seconds": seconds}
    return sizes | {
        "times_as_fast": {name: seconds[name] / seconds["unirouter"] for name in seconds if name != "unirouter"},
    }


def benchmark_pruning(folder: str, num_prompts: int, repeats: int) -> list[dict[str, Any]]:
    """A real router: how many LLMs remain, and how many times as fast their choice is as the choice among all."""
    router = Router.from_pretrained(folder)
    with torch.no_grad():
        cluster_error, cost = router.head.cluster_error(router.pool.sums), router.pool.relative_cost
    calibration = router.calibration.cluster_probability
    prompts = torch.randint(len(calibration), (num_prompts,), generator=torch.Generator().manual_seed(0))
    probability, by_cost = calibration[prompts], order_by_cost(cost)
    rows = []
    for weight in COST_WEIGHTS:
        added = (weight * beyond_cheapest(cost))[by_cost].to(cluster_error.dtype)
        kept = undominated_llms(cluster_error[by_cost], added, tie_tolerance(added.dtype))

        def choose(prompts_per_llm: int, weight: float = weight) -> Tensor:
            with patch.object(decision, "PROMPTS_PER_LLM_TO_PRUNE", prompts_per_llm):
                return choose_llms(probability, cluster_error, cost, weight)

        seconds, _ = time_all({"pruned": lambda: choose(0), "whole": lambda: choose(num_prompts + 1)}, repeats)
        facts = {"router": folder, "cost_weight": weight, "num_llms": len(cost), "num_kept": len(kept)}
        rows.append(facts | {"seconds": seconds, "times_as_fast": seconds["whole"] / seconds["pruned"]})
    return rows


def benchmark_onboarding(num_llms: int, num_clusters: int, repeats: int) -> dict[str, Any]:
    """An LLM joins a pool: from its outcomes on embedded calibration prompts to its cluster errors."""
    probability = make_instance(NUM_CALIBRATION, 1, num_clusters).cluster_probability
    outcomes = torch.rand(NUM_CALIBRATION, num_llms + 1, generator=torch.Generator().manual_seed(0))
    sums = sum_by_cluster(probability, outcomes, torch.ones_like(outcomes, dtype=torch.bool))
    rows = (ClusterSums(*(part[[row]] for part in sums)) for row in range(num_llms))
    llms = tuple(PooledLLM(name=str(row), cost=1.0, sums=its_sums) for row, its_sums in enumerate(rows))
    pool = replace(LLMPool.empty(num_clusters), llms=llms)
    error, observed = outcomes[:, -1:], torch.ones(NUM_CALIBRATION, 1, dtype=torch.bool)
    head = ClusterHead(DIM, num_clusters)

    def join() -> None:
        its_sums = sum_by_cluster(probability, error, observed)
        pool.with_llm(PooledLLM(name="new", cost=1.0, sums=its_sums))
        head.cluster_error(its_sums)

    with torch.no_grad():
        seconds, _ = time_all({"join": join}, repeats, times=100)
    sizes = {"num_llms": num_llms, "num_clusters": num_clusters, "num_calibration": NUM_CALIBRATION}
    return sizes | {"seconds": seconds["join"]}


def instance_sizes(instance: Instance) -> dict[str, Any]:
    """The numbers of prompts, LLMs and clusters, by name."""
    num_prompts, num_clusters = instance.cluster_probability.shape
    return {"num_prompts": num_prompts, "num_llms": len(instance.cost), "num_clusters": num_clusters}


def print_table(heads: str, rows: Iterable[Sequence[object]]) -> None:
    """One table; ``heads`` are separated by bars."""
    print(f"\n| {heads} |\n|{'---|' * len(heads.split('|'))}")
    for row in rows:
        print("| " + " | ".join(f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in row) + " |")


def print_results(results: dict[str, Any]) -> None:
    """One table for each question."""

    def sizes(row: dict[str, Any]) -> list[str]:
        return [f"{row[name]:,}" for name in ("num_prompts", "num_llms", "num_clusters")]

    scoring = [
        [
            *sizes(row),
            row["seconds"]["unirouter"],
            *row["times_as_fast"].values(),
            row["to_product"],
            row["same_choices"],
        ]
        + [
            peak if peak is None else peak / 1e6
            for peak in (row["peak_bytes"]["torch"], row["peak_bytes"]["unirouter"])
        ]
        for row in results["scoring"]
    ]
    print_table(
        "prompts | LLMs | clusters | seconds | torch / ours | torch with checks / ours | NumPy / ours | ours / product "
        "| same choices | MB, torch | MB, ours",
        scoring,
    )
    print(f"\nleft out as too large: {results['left_out'] or 'none'}")
    ways = ("scikit-learn", "faiss")
    neighbors = [
        [*sizes(row), *(row["times_as_fast"].get(way, "not installed") for way in ways)] for row in results["neighbors"]
    ]
    print_table("prompts | LLMs | clusters | scikit-learn K-NN / ours | FAISS K-NN / ours", neighbors)
    facts = ("router", "cost_weight", "num_llms", "num_kept", "times_as_fast")
    print_table(
        "router | cost weight | LLMs | remain | all / pruned", [[row[f] for f in facts] for row in results["pruning"]]
    )
    onboarding = [(row["num_llms"], 1e3 * row["seconds"]) for row in results["onboarding"]]
    print_table("LLMs in the pool | one more, in ms", onboarding)


def fits(num_prompts: int, num_llms: int, num_clusters: int, most_pairs: float) -> bool:
    """Whether a shape is worth the time, and the two matrices of the plain choice fit into the free memory."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    operations = num_prompts * num_llms * num_clusters
    is_small = operations <= MOST_OPERATIONS and num_prompts * num_llms <= most_pairs
    return is_small and 2 * 4 * num_prompts * num_llms <= free


def benchmark(options: argparse.Namespace) -> None:
    """Measure on one thread, write and print."""
    at_least("--repeats", options.repeats, 1)
    shapes = list(dict.fromkeys(QUICK_SHAPES if options.quick else SHAPES))
    repeats, sizes = options.repeats, (200, 20, 8) if options.quick else TIMED
    kept = [s for s in shapes if fits(*s, options.most_pairs)]
    num_prompts, num_llms, num_clusters = sizes
    torch.set_num_threads(1)
    with threadpool_limits(1):
        results = {
            "repeats": repeats,
            "scoring": [benchmark_scoring(*s, repeats) for s in progress(kept, "scoring")],
            "left_out": [s for s in shapes if s not in kept],
            "neighbors": [benchmark_neighbors(n, num_llms, num_clusters, repeats) for n in (1, min(num_prompts, 1000))],
            "pruning": [row for name in options.routers for row in benchmark_pruning(name, 10 * num_prompts, repeats)],
            "onboarding": [benchmark_onboarding(n, num_clusters, repeats) for n in (num_llms, 10 * num_llms)],
        }
    write_json(options.output, results)
    print_results(results)


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--routers", nargs="*", default=[], metavar="DIR", help="routers on which pruning is timed")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to see that everything runs")
    parser.add_argument(
        "--most-pairs", type=float, default=float("inf"), metavar="N", help="prompts x LLMs of a shape at most"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="the least time counts; default: %(default)s"
    )
    options = parser.parse_args()
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
