"""Time the backends of a transformer encoder on one thread, and count whose choices and area are those of torch.

python scripts/benchmark_backends.py --output runs/benchmark_backends.json --tables simulated ../shared/data/mmlu_pro
"""

import os

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}  # before the tokenizers are loaded

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from benchmark_scoring import print_table, time_all

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.router import Backend
from unirouter_torch.data.load import load_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.prompt_encoder import PromptEncoder, count_tokens
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.experiments.adopt import adopt_table
from unirouter_torch.metrics.deferral import area_under_deferral_curve, deferral_curve
from unirouter_torch.router.backend import COST_WEIGHTS
from unirouter_torch.router.router import Router
from unirouter_torch.routing.cluster_error import estimate_error
from unirouter_torch.storage import write_json

NUM_CALIBRATION = 400


def benchmark_table(path: str, options: argparse.Namespace) -> dict[str, Any]:
    """Processor seconds for each prompt, and choices and area on test prompts, for every backend."""
    torch_router = Router.from_pretrained(options.router)
    table = load_table(path)
    adopt_table(torch_router, table, num_calibration=NUM_CALIBRATION)
    backends = {name: Router.from_pretrained(options.router, backend=name).encoder for name in options.backends}
    encoders: dict[str, PromptEncoder] = {"torch": torch_router.encoder} | backends
    known = set(torch_router.calibration.texts)
    order = torch.randperm(table.num_prompts, generator=torch.Generator().manual_seed(1)).tolist()
    test = [row for row in order if table.prompt_texts[row] not in known]
    some = [table.prompt_texts[row] for row in test[: options.prompts]]
    rows = torch_router.encoder.tokenize_rows(some)
    embed: dict[str, Callable[[], Any]] = {name: partial(encoder.embed, some) for name, encoder in encoders.items()}
    seconds, _ = time_all(embed, options.repeats)
    test = test[: options.test_prompts]
    judged = {name: judge(torch_router, encoder, table, test) for name, encoder in encoders.items()}
    expected = judged["torch"]
    return {
        "num_timed": len(some),
        "tokens_each": sum(map(len, rows)) / len(rows),
        "num_test": len(test),
        "backends": {
            name: {
                "seconds_each": seconds[name] / len(some),
                "times_torch": seconds["torch"] / seconds[name],
                "cosine": torch.cosine_similarity(one["embedding"], expected["embedding"]).mean().item(),
                "equal_choices": [
                    (a == b).double().mean().item() for a, b in zip(one["choices"], expected["choices"], strict=True)
                ],
                "area_minus_torch": one["area"] - expected["area"],
            }
            for name, one in judged.items()
        },
    }


@torch.inference_mode()
def judge(router: Router, encoder: PromptEncoder, table: RoutingTable, test: list[int]) -> dict[str, Any]:
    """Choices and area of a router whose prompts are embedded by this encoder; its pool is known by torch."""
    texts = [table.prompt_texts[row] for row in test]
    embedding = embed_with_cache(encoder, texts, cache_dir=cache_folder(None))
    probability, tokens, chooser = router.head(embedding), count_tokens(texts), router.chooser()
    columns = [table.llm_names.index(name) for name in router.pool.names]
    cost = table.cost.value[columns]
    estimated = estimate_error(probability, chooser.features)
    curve = deferral_curve(estimated, cost, table.error[test][:, columns], table.observed[test][:, columns])
    return {
        "embedding": embedding,
        "choices": [chooser.at(weight).choose(probability, tokens) for weight in COST_WEIGHTS],
        "area": area_under_deferral_curve(curve, cost),
    }


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    for name in ("prompts", "test_prompts", "repeats"):
        at_least(f"--{name.replace('_', '-')}", getattr(options, name), 1)
    torch.set_num_threads(1)
    results = {path: benchmark_table(path, options) for path in options.tables}
    write = {"router": options.router, "cost_weights": COST_WEIGHTS, "tables": results}
    write_json(options.output, write)
    weights = " | ".join(f"equal at {weight:g}" for weight in COST_WEIGHTS)
    print_table(
        f"table | tokens each | backend | prompts a second | times torch | cosine | {weights} | area - torch",
        [
            [
                path,
                result["tokens_each"],
                name,
                1 / row["seconds_each"],
                row["times_torch"],
                row["cosine"],
                *(f"{share:.2%}" for share in row["equal_choices"]),
                f"{row['area_minus_torch']:+.5f}",
            ]
            for path, result in results.items()
            for name, row in result["backends"].items()
        ],
    )


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    others = [name for name in get_args(Backend) if name != "torch"]
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--router", default="unirouter-minilm", metavar="ROUTER", help=f"over a transformer; {default}")
    parser.add_argument("--backends", nargs="+", default=others, choices=others, help=default)
    parser.add_argument("--tables", nargs="+", default=["simulated"], metavar="PATH", help=f"as data.path; {default}")
    parser.add_argument("--prompts", type=int, default=100, metavar="N", help=f"timed, of each table; {default}")
    parser.add_argument("--test-prompts", type=int, default=1000, metavar="N", help=f"routed at most; {default}")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help=f"the least of them counts; {default}")
    options = parser.parse_args()
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
