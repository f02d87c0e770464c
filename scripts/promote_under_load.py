"""Requests from many clients while routers change places: how many are lost, and what a shadow costs in latency.

python scripts/promote_under_load.py FIRST SECOND --requests 10000 --clients 64
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx2

KEY = "made-up-key"
PROMPT = "What is 17 + 25? Explain each step."


@contextmanager
def server(router: str, *options: str) -> Iterator[httpx2.Client]:
    """A client of a server in another process."""
    command = [sys.executable, "-m", "unirouter_torch.cli", "serve", "--port", "0", "--router", router, *options]
    environment = os.environ | {"PROMOTE_KEY": KEY, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        address = re.search(r"at (http://\S+);", process.stdout.readline())
        assert address is not None
        with httpx2.Client(base_url=address[1], trust_env=False, timeout=60) as http:
            yield http
    finally:
        process.terminate()
        process.wait()


def load(http: httpx2.Client, requests: int, clients: int) -> tuple[list[float], int]:
    """Seconds of each request, and how many failed."""

    def ask(_: int) -> tuple[float, bool]:
        start = time.monotonic()
        try:
            status = http.post("/v1/route", json={"prompts": [PROMPT]}).status_code
        except httpx2.HTTPError:
            status = 0
        return time.monotonic() - start, status == 200

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(ask, range(requests)))
    return [seconds for seconds, _ in found], sum(not is_fine for _, is_fine in found)


def main() -> None:
    """Run both measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first")
    parser.add_argument("second")
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=64)
    options = parser.parse_args()
    with server(options.first, "--allow-changes", "PROMOTE_KEY") as http:
        stopped, switches = threading.Event(), 0

        def switch() -> None:
            nonlocal switches
            folders = [str(Path(folder).absolute()) for folder in (options.second, options.first)]
            while not stopped.wait(0.5):
                body = {"router": folders[switches % 2]}
                reply = http.post("/v1/router", json=body, headers={"Authorization": f"Bearer {KEY}"})
                assert reply.status_code == 200, reply.text
                switches += 1

        thread = threading.Thread(target=switch)
        thread.start()
        _, lost = load(http, options.requests, options.clients)
        stopped.set()
        thread.join()
    print(f"{options.requests} requests of {options.clients} clients, {switches} promotions: {lost} lost")
    medians: dict[bool, list[float]] = {False: [], True: []}
    with server(options.first) as plain, server(options.first, "--shadow", options.second) as shadowed:
        for _ in range(5):
            for is_shadowed, http in ((False, plain), (True, shadowed)):
                seconds, _ = load(http, 500, 1)
                medians[is_shadowed].append(statistics.median(seconds))
    without, beside = (statistics.median(medians[is_shadowed]) for is_shadowed in (False, True))
    print(f"one client, median: {1e3 * without:.2f} ms, shadowed {1e3 * beside:.2f} ms, {beside / without:.2f} times")


if __name__ == "__main__":
    main()
