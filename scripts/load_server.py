"""Chats through a server on loopback: its overhead beside LiteLLM's proxy, and its memory over many requests.

python scripts/load_server.py --output runs/load_server.json --router runs/quickstart/router --litellm litellm
"""

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from benchmark_scoring import print_table

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least, positive
from unirouter_torch.errors import ConfigError
from unirouter_torch.router.router import Router
from unirouter_torch.storage import write_json

ANSWER = json.dumps(
    {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
START_SECONDS = 180
FIGURES = ("requests_per_second", "p50", "p99")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection to the upstream: the same answer to each request."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            await read_message(reader)
            # in one piece: the second of two would wait for the acknowledgement of the first
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
            writer.write(head + ANSWER)
            await writer.drain()
    writer.close()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """The first line of a request or an answer; its body is read and dropped."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = head.lower().split(b"\r\n")
    length = next((int(line.partition(b":")[2]) for line in fields if line.startswith(b"content-length:")), None)
    if length is not None:
        await reader.readexactly(length)
    elif b"transfer-encoding: chunked" in fields:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return fields[0]


def serve_upstream(listener: socket.socket) -> None:
    """The upstream, in a process of its own, until it is terminated."""

    async def run() -> None:
        async with await asyncio.start_server(answer, sock=listener, backlog=1024) as server:
            await server.serve_forever()

    asyncio.run(run())


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def upstream() -> Iterator[str]:
    """The address of the upstream."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        process = multiprocessing.get_context("spawn").Process(target=serve_upstream, args=(listener,), daemon=True)
        process.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            process.terminate()
            process.join()


@contextlib.contextmanager
def started(command: list[str], port: int) -> Iterator[int]:
    """A server of its own process; the identifier of it, once it answers a chat."""
    # neither server asks for a key
    no_key = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", **no_key, **os.environ}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not asyncio.run(answers(port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ConfigError(f"{shlex.join(command)}: does not answer a chat. Run it by hand to see why.")
            time.sleep(0.2)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


async def answers(port: int) -> bool:
    """Whether a server answers a chat."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("Hello"))
        line = await asyncio.wait_for(read_message(reader), 30)
        writer.close()
        return b" 200" in line
    return False


def request(prompt: str) -> bytes:
    """A chat, as it is sent."""
    body = json.dumps({"model": "unirouter", "messages": [{"role": "user", "content": prompt}]}).encode()
    return HEAD % len(body) + body


async def client(port: int, numbers: Iterator[int], times: list[tuple[float, float]]) -> None:
    """One client: a request after the other over one connection, until the numbers end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        start = time.perf_counter()
        writer.write(request(f"What is {number} + {number % 97}?"))
        line = await read_message(reader)
        if b" 200" not in line:
            raise ConfigError(f"port {port}: answered {line.decode()}, expected 200. See the server's log.")
        times.append((start, time.perf_counter() - start))
    writer.close()


async def load(port: int, clients: int, requests: int) -> list[tuple[float, float]]:
    """When each request was sent, and how long its answer took [seconds]."""
    times: list[tuple[float, float]] = []
    numbers = iter(range(requests))
    await asyncio.gather(*(client(port, numbers, times) for _ in range(clients)))
    return times


def figures(times: list[tuple[float, float]]) -> dict[str, float]:
    """Requests a second, and percentiles of the time to an answer [milliseconds]."""
    spent = max(start + length for start, length in times) - min(start for start, _ in times)
    lengths = sorted(length for _, length in times)
    at = {
        name: lengths[min(len(lengths) - 1, int(share * len(lengths)))] for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    return {"requests_per_second": len(times) / spent} | {name: 1000 * value for name, value in at.items()}


def resident_bytes(pid: int) -> int:
    """Memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{pid}/status").read_text()
    own = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))) * 1024
    return own + sum(resident_bytes(int(child)) for child in children)


def compare(ports: dict[str, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The figures of each server at each number of clients; the servers take turns, and the median counts."""
    rows = []
    for clients in options.clients:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ports}
        for _ in range(options.repeats):
            for name, port in ports.items():
                found[name].append(figures(asyncio.run(load(port, clients, options.requests))))
        medians = {
            name: {figure: statistics.median(one[figure] for one in runs) for figure in FIGURES}
            for name, runs in found.items()
        }
        rows.append({"clients": clients, **medians})
    return rows


def watch_memory(pid: int, port: int, options: argparse.Namespace) -> dict[str, Any]:
    """Memory after each tenth of many requests, and how the last tenth compares with the second."""
    tenths, begin = [], time.perf_counter()
    for _ in range(10):
        asyncio.run(load(port, options.memory_clients, options.memory_requests // 10))
        tenths.append(resident_bytes(pid))
    return {
        "clients": options.memory_clients,
        "requests": options.memory_requests,
        "requests_per_second": options.memory_requests / (time.perf_counter() - begin),
        "resident_bytes": tenths,
        "last_to_second_tenth": tenths[-1] / tenths[1],
    }


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    for name in ("requests", "repeats", "memory_requests", "memory_clients", "workers"):
        positive(f"--{name}", getattr(options, name))
    at_least("--clients", min(options.clients), 1)
    llms = Router.from_pretrained(options.router).pool.names
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url, ports = stack.enter_context(upstream()), {"unirouter": free_port()}
        (folder / "upstreams.yaml").write_text(yaml.safe_dump({llm: {"base_url": url} for llm in llms}))
        own = [sys.executable, "-m", "unirouter_torch.cli", "serve", "--router", options.router]
        own += ["--upstreams", str(folder / "upstreams.yaml"), "--workers", str(options.workers)]
        pid = stack.enter_context(started([*own, "--port", str(ports["unirouter"])], ports["unirouter"]))
        if options.litellm and shutil.which(options.litellm):
            named = {"model": "openai/m", "api_base": url, "api_key": "none"}
            config = {
                "model_list": [
                    {"model_name": "unirouter", "litellm_params": named | {"model": f"openai/{llm}"}} for llm in llms
                ]
            }
            (folder / "litellm.yaml").write_text(yaml.safe_dump(config))
            ports["litellm"] = free_port()
            command = [options.litellm, "--config", str(folder / "litellm.yaml"), "--port", str(ports["litellm"])]
            stack.enter_context(started([*command, "--num_workers", str(options.workers)], ports["litellm"]))
        results = {
            "router": options.router,
            "workers": options.workers,
            "requests": options.requests,
            "repeats": options.repeats,
            "load": compare(ports, options),
            "memory": watch_memory(pid, ports["unirouter"], options),
        }
    write_json(options.output, results)
    print_results(results)


def print_results(results: dict[str, Any]) -> None:
    """Tables for people."""
    names = [name for name in results["load"][0] if name != "clients"]
    print_table(
        "clients | server | requests/s | p50 [ms] | p99 [ms]",
        [[row["clients"], name, *row[name].values()] for row in results["load"] for name in names],
    )
    if "litellm" in names:
        print_table(
            "clients | unirouter / litellm: requests/s | p50 | p99",
            [
                [row["clients"], *(row["unirouter"][one] / row["litellm"][one] for one in FIGURES)]
                for row in results["load"]
            ],
        )
    memory = results["memory"]
    print_table(
        "requests | clients | resident MB after each tenth | last / second",
        [
            [
                memory["requests"],
                memory["clients"],
                " ".join(f"{size / 2**20:.0f}" for size in memory["resident_bytes"]),
                memory["last_to_second_tenth"],
            ]
        ],
    )


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--router", required=True, metavar="DIR", help="folder of a saved router")
    parser.add_argument("--litellm", metavar="COMMAND", help="command of LiteLLM's proxy; only this server without it")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help=f"processes of each server; {default}")
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 8, 64), metavar="N", help=f"at a time; {default}")
    parser.add_argument("--requests", type=int, default=1000, metavar="N", help=f"of each load; {default}")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help=f"in turns, the median counts; {default}")
    parser.add_argument("--memory-clients", type=int, default=200, metavar="N", help=default)
    parser.add_argument("--memory-requests", type=int, default=20_000, metavar="N", help=default)
    return guarded(lambda: benchmark(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
