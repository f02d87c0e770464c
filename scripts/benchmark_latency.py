"""Time one prompt: the stages of a route, a server with one client, and the command beside the import of torch.

python scripts/benchmark_latency.py --output runs/benchmark_latency.json --router router
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from benchmark_encoding import some_prompts
from benchmark_scoring import print_table
from benchmark_serving import counts, load, servers

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least, positive
from unirouter_torch.encoder.prompt_encoder import count_tokens
from unirouter_torch.router.router import Router
from unirouter_torch.storage import write_json

STAGES = {
    "text": "conversations become text",
    "tokenize": "tokens",
    "table": "their vectors, or the network",
    "form": "surface features",
    "head": "cluster probabilities",
    "choice": "the LLM",
    "answer": "estimates and costs of all LLMs, by name",
}

PERCENTS = (10, 50, 99)


def time_stages(router: Router, texts: Sequence[str]) -> dict[str, float]:
    """Median processor seconds of each stage of a route, and of all of them together, a prompt at a time."""
    encoder, chooser = router.encoder, router.chooser()
    taken: dict[str, list[float]] = {}
    for prompt in texts:
        at = [time.process_time()]

        def lap(result: Any, at: list[float] = at) -> Any:
            at.append(time.process_time())
            return result

        with torch.inference_mode():
            text = lap(router.texts([prompt]))
            rows = lap(encoder.tokenize_rows(text))
            embedding = lap(encoder.embed_rows(rows))
            embedding = lap(encoder.with_form(embedding, text))
            probability = lap(router.head(embedding))
            tokens = count_tokens(text)
            lap(chooser.choose(probability, tokens))
            lap(chooser.routes(probability, tokens))
        seconds = dict(zip(STAGES, (end - start for start, end in pairwise(at)), strict=True))
        seconds["answer"] -= seconds["choice"]  # which it makes once more
        for name, one in (seconds | {"all": sum(seconds.values())}).items():
            taken.setdefault(name, []).append(one)
    return {name: statistics.median(each) for name, each in taken.items()}


def time_routes(router: Router, texts: Sequence[str]) -> dict[str, float]:
    """Percentiles of the seconds on the clock of ``Router.route``, a prompt at a time."""
    taken = []
    for prompt in texts:
        start = time.perf_counter()
        router.route([prompt])
        taken.append(time.perf_counter() - start)
    return percentiles(taken)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Where other work takes the processor from time to time, the lower ones are those of a quiet machine."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"p{percent}": cuts[percent - 1] for percent in PERCENTS}


def time_server(folder: str, texts: Sequence[str], seconds: float, threads: int) -> dict[str, float]:
    """Percentiles of the seconds that one client on loopback waits for an answer."""
    bodies = [json.dumps({"prompts": [text]}).encode() for text in texts]
    with servers(folder, threads) as ports:
        port = ports["together"]
        counts(port)  # waits until the server is there
        asyncio.run(load(port, bodies, 1, min(1.0, seconds)))
        return percentiles(asyncio.run(load(port, bodies, 1, seconds)))


def time_start(folder: str, repeats: int) -> dict[str, dict[str, float]]:
    """Least seconds of a process that imports torch and of ``unirouter route``, alternating: processor and clock."""
    ways = {
        "import torch": ("-c", "import torch"),
        "unirouter route": ("-m", "unirouter_torch.cli", "route", "What is 17 + 25?", "--router", folder, "--json"),
    }

    def run(arguments: Sequence[str]) -> dict[str, float]:
        before, start = os.times(), time.monotonic()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        return {"processor": used, "clock": time.monotonic() - start}

    taken: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(repeats):
        for way, arguments in ways.items():
            taken[way].append(run(arguments))
    return {way: {clock: min(one[clock] for one in each) for clock in each[0]} for way, each in taken.items()}


def print_results(results: dict[str, Any]) -> None:
    """One table for each question."""
    stages = results["stages"]
    print_table(
        "stage | what | processor ms | share",
        [[name, what, 1e3 * stages[name], stages[name] / stages["all"]] for name, what in STAGES.items()]
        + [["all", "", 1e3 * stages["all"], 1.0]],
    )
    ways = {"Router.route": results["route"], "unirouter serve, one client": results["served"]}
    heads = " | ".join(f"{percent}% are within, ms" for percent in PERCENTS)
    print_table(f"way | {heads}", [[way, *(1e3 * one for one in its.values())] for way, its in ways.items()])
    print_table(
        "process | processor seconds | seconds", [[way, *its.values()] for way, its in results["start"].items()]
    )


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    at_least("--repeats", options.repeats, 1)
    at_least("--prompts", options.prompts, 2)
    positive("--seconds", options.seconds)
    torch.set_num_threads(options.threads)
    router = Router.from_pretrained(options.router)
    texts = some_prompts(options.table, options.prompts)
    router.route(texts[:1])
    results = {
        "router": options.router,
        "llms": len(router.pool.names),
        "table": options.table,
        "threads": options.threads,
        "stages": time_stages(router, texts),
        "route": time_routes(router, texts),
        "served": time_server(options.router, texts, options.seconds, options.threads),
        "start": time_start(options.router, options.repeats),
    }
    write_json(options.output, results)
    print_results(results)


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    parser.add_argument("--table", default="simulated", metavar="PATH", help=f"whose prompts, as data.path; {default}")
    parser.add_argument("--prompts", type=int, default=500, metavar="N", help=default)
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help=f"that the client asks; {default}")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help=f"starts, the least counts; {default}")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), metavar="N", help=f"of torch; {default}"
    )
    options = parser.parse_args()
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
