"""Time the exact deferral curve against routing at many cost weights, and the methods of one trial against K-NN.

python scripts/benchmark_evaluation.py --output runs/benchmark_evaluation.json
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from unirouter_torch.cli.output import SETTINGS_EPILOG, guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.errors import ConfigError
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.method_run import run_method
from unirouter_torch.methods.registry import method_class, methods_to_compare
from unirouter_torch.metrics.deferral import DeferralCurve, area_under_deferral_curve, deferral_curve
from unirouter_torch.routing.decision import choose_llm
from unirouter_torch.storage import write_json

SIZES = ("60x8", "852x19", "3562x16", "20000x100")
"""Prompts x LLMs: small enough for brute force, the tests of ZeroEval and MMLU-Pro, and a large one."""

MOST_CROSSINGS = 5000
"""Cost weights that brute force tries at most; larger instances are left out."""


class Instance(NamedTuple):
    """Made estimates of more expensive and better LLMs, and made outcomes of nine pairs in ten."""

    estimated: Tensor
    cost: Tensor
    error: Tensor
    observed: Tensor


def make_instance(num_prompts: int, num_llms: int) -> Instance:
    """An LLM costs more the abler it is, but not strictly; every prompt has an outcome."""
    generator = torch.Generator().manual_seed(0)
    ability = torch.randn(num_llms, generator=generator)
    cost = (ability + 0.5 * torch.randn(num_llms, generator=generator)).exp()
    difficulty, noise = (
        torch.randn(num_prompts, 1, generator=generator),
        torch.randn(num_prompts, num_llms, generator=generator),
    )
    estimated = torch.sigmoid(difficulty + 0.5 * noise - ability)
    error = (torch.rand(num_prompts, num_llms, generator=generator) < estimated).float()
    observed = torch.rand(num_prompts, num_llms, generator=generator) < 0.9
    observed[:, 0] |= ~observed.any(-1)
    return Instance(estimated, cost, error, observed)


def route_at(instance: Instance, cost_weights: Tensor) -> DeferralCurve:
    """The points of the deferral curve at some cost weights, by one choice for each."""
    points = []
    for weight in cost_weights.tolist():
        chosen = choose_llm(instance.estimated, instance.cost, weight, instance.observed)
        error = instance.error.gather(1, chosen[:, None])
        points.append((instance.cost[chosen].double().mean(), 1 - error.double().mean()))
    cost, quality = (torch.stack(values) for values in zip(*points, strict=True))
    return DeferralCurve(cost_weights, cost, quality)


def grid_of_weights(instance: Instance, num_points: int) -> Tensor:
    """0, then weights of equal ratio from a thousandth to a thousand times the error worth the highest cost."""
    exponent = torch.linspace(-3, 3, num_points - 1, dtype=torch.float64)
    return torch.cat([torch.zeros(1, dtype=torch.float64), 10**exponent / float(instance.cost.max())])


def amid_crossings(instance: Instance) -> Tensor:
    """A cost weight between each two at which two LLMs are equal for some prompt, whether or not either is chosen."""
    estimated, cost = instance.estimated, instance.cost
    pairs = combinations(range(len(cost)), 2)
    crossings = torch.cat([(estimated[:, a] - estimated[:, b]) / (cost[b] - cost[a]) for a, b in pairs])
    crossings = crossings[crossings > 0].sort().values
    bounds = torch.cat([torch.zeros_like(crossings[:1]), crossings, 2 * crossings[-1:]])
    return (bounds[1:] + bounds[:-1]) / 2


def least_seconds(work: dict[str, Callable[[], Any]], repeats: int) -> tuple[dict[str, float], dict[str, Any]]:
    """The least time of each piece of work over alternating repeats, and what it returned."""
    seconds, results = dict.fromkeys(work, float("inf")), {}
    for _ in range(repeats):
        for name, function in work.items():
            start = time.perf_counter()
            results[name] = function()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def benchmark_curve(num_prompts: int, num_llms: int, num_points: int, repeats: int) -> dict[str, Any]:
    """The exact curve against the grid, and against brute force where the instance is small."""
    instance = make_instance(num_prompts, num_llms)
    grid = grid_of_weights(instance, num_points)
    work: dict[str, Callable[[], DeferralCurve]] = {
        "exact": lambda: deferral_curve(*instance),
        "grid": lambda: route_at(instance, grid),
    }
    if num_prompts * num_llms * (num_llms - 1) // 2 <= MOST_CROSSINGS:
        exact = Instance(instance.estimated.double(), instance.cost.double(), instance.error, instance.observed)
        work["brute_force"] = lambda: route_at(exact, amid_crossings(exact))
    seconds, curves = least_seconds(work, repeats)
    others = [name for name in work if name != "exact"]
    return {
        "num_prompts": num_prompts,
        "num_llms": num_llms,
        "num_points": {name: len(curve.cost_weight) for name, curve in curves.items()},
        "area": {name: area_under_deferral_curve(curve, instance.cost) for name, curve in curves.items()},
        "seconds": seconds,
        "exact_to": {name: seconds["exact"] / seconds[name] for name in others},
    }


def benchmark_trial(config: TrainConfig, embedded: EmbeddedTable, repeats: int) -> dict[str, Any]:
    """Fit, onboard and score every method on one trial; the first that asks for K-means clusters pays for them."""
    split = split_table(embedded.table, seed=config.seed, unseen_fraction=config.data.unseen_fraction)
    methods = {"knn": method_class("knn")} | methods_to_compare(config)
    seconds = dict.fromkeys(methods, float("inf"))
    for _ in range(repeats):
        trial = prepare_trial(config, embedded, split, config.seed)
        for name, method in methods.items():
            stages = run_method(method, trial).stages
            taken = sum(stages[stage].wall_seconds for stage in ("fit", "onboard", "score"))
            seconds[name] = min(seconds[name], taken)
    return {
        "table": embedded.table.describe(),
        "seconds": seconds,
        "to_knn": {name: taken / seconds["knn"] for name, taken in seconds.items()},
        "all_to_knn": sum(seconds.values()) / seconds["knn"],
    }


def print_results(results: dict[str, Any]) -> None:
    """Two tables of ratios."""
    print("| prompts x LLMs | points | exact / grid | exact / brute force | error of the grid's area |")
    print("|---|---|---|---|---|")
    for row in results["curve"]:
        ratio, area = row["exact_to"], row["area"]
        brute_force = f"{ratio['brute_force']:.5f}" if "brute_force" in ratio else "not run"
        print(
            f"| {row['num_prompts']} x {row['num_llms']} | {row['num_points']['exact']} | {ratio['grid']:.3f} "
            f"| {brute_force} | {area['grid'] - area['exact']:+.5f} |"
        )
    print("\n| method | time / K-NN's |\n|---|---|")
    for name, ratio in (results["trial"]["to_knn"] | {"all": results["trial"]["all_to_knn"]}).items():
        print(f"| {name} | {ratio:.2f} |")


def parse_sizes(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Prompts and LLMs of each size.

    Raises:
        ConfigError: One is not of the form ``852x19``, or less than one prompt and two LLMs.
    """
    sizes = []
    for text in texts:
        num_prompts, times, num_llms = text.partition("x")
        if not (
            num_prompts.isdecimal() and times and num_llms.isdecimal() and int(num_prompts) > 0 and int(num_llms) > 1
        ):
            raise ConfigError(f"--sizes: {text!r}: expected prompts x LLMs, at least one and two, like 852x19.")
        sizes.append((int(num_prompts), int(num_llms)))
    return sizes


def benchmark(options: argparse.Namespace, settings: Sequence[str]) -> None:
    """Measure on one thread, write and print."""
    at_least("--repeats", options.repeats, 1)
    at_least("--points", options.points, 2)
    sizes = parse_sizes(options.sizes)
    config = parse_config(settings, program="benchmark_evaluation.py")
    embedded = embed_table(config)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        results = {
            "repeats": options.repeats,
            "curve": [benchmark_curve(*size, options.points, options.repeats) for size in sizes],
            "trial": benchmark_trial(config, embedded, options.repeats),
        }
    write_json(options.output, results)
    print_results(results)


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=SETTINGS_EPILOG)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="NxM", help="prompts x LLMs; default: %(default)s")
    parser.add_argument("--points", type=int, default=200, metavar="N", help="of the grid; default: %(default)s")
    parser.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="the least time counts; default: %(default)s"
    )
    options, settings = parser.parse_known_args()
    return guarded(lambda: benchmark(options, settings))


if __name__ == "__main__":
    sys.exit(main())
