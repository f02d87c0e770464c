"""Load a server on loopback: prompts of many clients embedded together, against one prompt at a time.

python scripts/benchmark_serving.py --output runs/benchmark_serving.json --router runs/quickstart/router
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import signal
import socket
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_scoring import print_table

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least, positive
from unirouter_torch.data.load import load_table
from unirouter_torch.errors import DataError
from unirouter_torch.router.router import Router
from unirouter_torch.serving.app import make_app
from unirouter_torch.serving.batching import BatchLimits
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.server import listen, server_of
from unirouter_torch.storage import write_json

WAYS = {
    "together": BatchLimits(),
    "one_at_a_time": BatchLimits(most_together=1),
}
"""The server as it is, and with batches of one prompt."""

HEAD = b"POST /v1/route HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
FIGURES = ("requests_per_second", "p50", "p95", "p99")
STAGES = ("queue", "encode", "decide")


def serve(folder: str, limits: BatchLimits, listener: socket.socket, threads: int) -> None:
    """One server, in a process of its own, until it gets SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    torch.set_num_threads(threads)
    metrics = Metrics()
    live = LiveRouter(Router.from_pretrained(folder), metrics)
    live.router.cluster(["What is 17 + 25?"])
    server_of(make_app(live, metrics, limits=limits)).run(sockets=[listener])


@contextlib.contextmanager
def servers(folder: str, threads: int) -> Iterator[dict[str, int]]:
    """The port of a server for each way; idle ones cost nothing."""
    context = multiprocessing.get_context("spawn")
    ports, processes = {}, []
    try:
        for way, limits in WAYS.items():
            with listen("127.0.0.1", 0) as listener:
                process = context.Process(target=serve, args=(folder, limits, listener, threads), daemon=True)
                process.start()
                processes.append(process)
                ports[way] = listener.getsockname()[1]
        yield ports
    finally:
        for process in processes:
            process.terminate()
            process.join()


async def client(port: int, bodies: Sequence[bytes], until: float, first: int, step: int) -> list[float]:
    """Ask one prompt after the other over one connection, at least one; the seconds of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken: list[float] = []
    place = first
    while not taken or time.monotonic() < until:
        body = bodies[place % len(bodies)]
        start = time.monotonic()
        writer.write(HEAD % len(body) + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(answer.split(b"content-length:")[1].split(b"\r\n")[0]))
        if not answer.startswith(b"http/1.1 200"):
            raise DataError(f"the server answered {answer.splitlines()[0].decode()}; expected status 200.")
        taken.append(time.monotonic() - start)
        place += step
    writer.close()
    await writer.wait_closed()
    return taken


async def load(port: int, bodies: Sequence[bytes], clients: int, seconds: float) -> list[float]:
    """The seconds of every answer, over clients that each ask as soon as they are answered."""
    until = time.monotonic() + seconds
    taken = await asyncio.gather(*(client(port, bodies, until, number, clients) for number in range(clients)))
    return [one for its in taken for one in its]


def counts(port: int) -> dict[str, float]:
    """Samples of the server's metrics, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=600) as response:
        lines = response.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


def measure_load(port: int, bodies: Sequence[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """One way under one load: requests, their times, the mean batch, and where the time of the server went."""
    before = counts(port)
    start = time.monotonic()
    taken = asyncio.run(load(port, bodies, clients, seconds))
    elapsed, after = time.monotonic() - start, counts(port)

    def mean(name: str, labels: str = "") -> float:
        total, number = (
            after[f"{name}_{part}{labels}"] - before.get(f"{name}_{part}{labels}", 0) for part in ("sum", "count")
        )
        return total / number

    half, most, nearly_all = np.quantile(taken, [0.5, 0.95, 0.99]).tolist()
    return {
        "requests_per_second": len(taken) / elapsed,
        "p50": half,
        "p95": most,
        "p99": nearly_all,
        "batch": mean("unirouter_batch_prompts"),
        "stages": {stage: mean("unirouter_stage_seconds", f'{{stage="{stage}"}}') for stage in STAGES},
    }


def middle(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over repeats."""
    first = runs[0]
    return {
        name: middle([run[name] for run in runs])
        if isinstance(first[name], dict)
        else statistics.median(run[name] for run in runs)
        for name in first
    }


def benchmark_clients(
    ports: dict[str, int], bodies: Sequence[bytes], clients: int, options: argparse.Namespace
) -> dict[str, Any]:
    """All ways under one load, in turns."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way, its in runs.items():
            its.append(measure_load(ports[way], bodies, clients, options.seconds))
    found = {way: middle(its) for way, its in runs.items()}
    ratios = {name: found["together"][name] / found["one_at_a_time"][name] for name in FIGURES}
    return {"clients": clients, "ways": found, "together_to_one_at_a_time": ratios}


def print_results(results: dict[str, Any]) -> None:
    """What each way gave, and the ratios to one prompt at a time."""
    print_table(
        "clients | way | requests/s | p50 ms | p95 ms | p99 ms | prompts in a batch | queue ms | encode ms | decide ms",
        [
            [row["clients"], way.replace("_", " "), its["requests_per_second"]]
            + [1e3 * its[name] for name in FIGURES[1:]]
            + [its["batch"], *(1e3 * its["stages"][stage] for stage in STAGES)]
            for row in results["load"]
            for way, its in row["ways"].items()
        ],
    )
    print_table(
        "clients | together / one at a time: requests/s | p50 | p95 | p99",
        [[row["clients"], *row["together_to_one_at_a_time"].values()] for row in results["load"]],
    )


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    for name in ("prompts", "repeats", "threads"):
        at_least(f"--{name}", getattr(options, name), 1)
    at_least("--clients", min(options.clients), 1)
    positive("--seconds", options.seconds)
    router = Router.from_pretrained(options.router)
    texts = load_table(options.table, cost_rule="equal").prompt_texts
    texts = texts[:: max(1, len(texts) // options.prompts)][: options.prompts]
    bodies = [json.dumps({"prompts": [text]}).encode() for text in texts]
    with servers(options.router, options.threads) as ports:
        for port in ports.values():
            counts(port)  # waits until the server is there
        results = {
            "router": options.router,
            "encoder": router.encoder.name,
            "llms": len(router.pool.names),
            "table": options.table,
            "prompts": len(bodies),
            "threads": options.threads,
            "seconds": options.seconds,
            "repeats": options.repeats,
            "load": [benchmark_clients(ports, bodies, clients, options) for clients in options.clients],
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
    parser.add_argument("--prompts", type=int, default=500, metavar="N", help=f"different ones; {default}")
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 8, 32), metavar="N", help=f"at a time; {default}")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help=f"of each load; {default}")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help=f"in turns, the median counts; {default}")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), metavar="N", help=f"of torch; {default}"
    )
    options = parser.parse_args()
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
