"""A saved router behind a real server on loopback, with upstreams on loopback."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import yaml
from small_router import KINDS, small_router

from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.router.router import Router
from unirouter_torch.serving.app import make_app
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.server import listen, server_of
from unirouter_torch.serving.trial import Trial

COMMAND = [sys.executable, "-m", "unirouter_torch.cli", "serve", "--port", "0"]


class Served(NamedTuple):
    """A server that runs.

    Attributes:
        url: Its address.
        http: A client of it.
        live: What it serves.
        stop: Asks it to end.
    """

    url: str
    http: httpx2.Client
    live: LiveRouter
    stop: Callable[[], None]

    def count(self, sample: str) -> float:
        """A sample of the metrics; 0 where there is none yet."""
        lines = self.http.get("/metrics").text.splitlines()
        return next((float(line.removeprefix(sample)) for line in lines if line.startswith(f"{sample} ")), 0.0)


def saved_router(folder: Path, kind: str = "transformer") -> Path:
    small_router(folder, save_encoder=KINDS[kind]).save_pretrained(folder / "router")
    return folder / "router"


def write_upstreams(path: Path, upstreams: Mapping[str, Any]) -> Path:
    """Upstreams by LLM: an address, or all fields."""
    fields = {llm: {"base_url": its} if isinstance(its, str) else its for llm, its in upstreams.items()}
    path.write_text(yaml.safe_dump(fields))
    return path


@contextmanager
def served(
    folder: Path,
    upstream_file: Path | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    trial: Callable[[Metrics], Trial] | None = None,
    **settings: Any,
) -> Iterator[Served]:
    """Serve the router in a folder, and another one on trial beside it."""
    metrics = Metrics()
    router = Router.from_pretrained(folder)
    live = LiveRouter(router, metrics, defaults=WeightedChoiceOptions(**defaults or {}), upstream_file=upstream_file)
    server = server_of(make_app(live, metrics, trial=trial and trial(metrics), **settings))
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        with httpx2.Client(base_url=url, trust_env=False, timeout=120) as http:
            yield Served(url, http, live, partial(setattr, server, "should_exit", True))
    finally:
        server.should_exit = True
        thread.join(120)
    assert not thread.is_alive()


@contextmanager
def serve_process(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command, and the address that it printed."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    try:
        said = process.stdout.readline()
        address = re.search(r"at (http://\S+);", said)
        assert address is not None, said + process.stderr.read()
        yield process, address[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what a server does by itself."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
