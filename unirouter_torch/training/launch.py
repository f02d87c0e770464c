"""Starting one worker for each device, and watching over them."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import socket
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, TypeVar

from torch import distributed

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError, TerminatedError, UniRouterError
from unirouter_torch.training.trainer import build_trainer, quiet_lightning

SECONDS_TO_END = 10.0
"""What the other workers have to end by themselves when one has failed."""

ResultT = TypeVar("ResultT")


def on_all_devices(function: Callable[[TrainConfig], ResultT], config: TrainConfig) -> ResultT:
    """``function(config)``, in one process for each device where there are several.

    torchrun and SLURM start these processes by themselves; otherwise they are started here.

    Args:
        function: What every worker does, a function of a module; what it returns must survive pickling.
        config: The run.

    Returns:
        What the first worker returned; under torchrun and SLURM, what this worker returned.

    Raises:
        ConfigError: The hardware that ``trainer`` asks for is not there, or nobody has started the workers of several
            nodes.
        TerminatedError: The workers were asked to end.
        UniRouterError: What a worker raised, or one was killed.
    """
    if config.trainer.num_workers == 1:
        return function(config)
    with quiet_lightning():
        strategy: Any = build_trainer(config, logger=False).strategy
        are_started = strategy.cluster_environment.creates_processes_externally
        if are_started:
            strategy.setup_environment()
    if are_started:
        result = function(config)
        distributed.destroy_process_group()
        return result
    if config.trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes: got {config.trainer.num_nodes}, but nobody has started the workers of several nodes. "
            "Start the command on each by torchrun or SLURM; docs/how_to/scaling.md shows how."
        )
    return _start_workers(function, config)


def require_one_device(config: TrainConfig, command: str) -> None:
    """Refuse several devices where a command shares out its work in another way.

    Raises:
        ConfigError: There are several devices or nodes.
    """
    if config.trainer.num_workers > 1:
        raise ConfigError(
            f"trainer.devices: got {config.trainer.devices} on {config.trainer.num_nodes} nodes, expected one device: "
            f"{command}. Set trainer.devices and trainer.num_nodes to 1."
        )


def _start_workers(function: Callable[[TrainConfig], ResultT], config: TrainConfig) -> ResultT:
    context, port = multiprocessing.get_context("spawn"), _free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = [
            context.Process(target=_work, args=(function, config, rank, port, folder))
            for rank in range(config.trainer.devices)
        ]
        for worker in workers:
            worker.start()
        with _passing_on_sigterm(workers) as asked_to_end:
            codes = _wait_for(workers)
        outcomes = [_read_outcome(folder, rank) for rank in range(len(workers))]
    if any(codes):
        raise _what_happened(codes, outcomes, asked_to_end=asked_to_end.is_set())
    result: ResultT = outcomes[0]
    return result


def _work(function: Callable[[TrainConfig], object], config: TrainConfig, rank: int, port: int, folder: Path) -> None:
    """What a worker does: leave a result or an error in a file, and end with an exit code."""
    os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _speak_plainly(rank)
    code, outcome = 1, None
    try:
        outcome = on_all_devices(function, config)
        code = 0
    except (UniRouterError, TerminatedError, OSError) as error:
        outcome = error
    except Exception:
        outcome = RuntimeError(f"worker {rank} failed:\n{traceback.format_exc()}")
    (folder / str(rank)).write_bytes(pickle.dumps(outcome))
    raise SystemExit(code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _speak_plainly(rank: int) -> None:
    warnings.filterwarnings("ignore")
    if rank == 0:
        warnings.filterwarnings("always", category=UserWarning, module=r"unirouter_torch(\.|$)")
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"


@contextlib.contextmanager
def _passing_on_sigterm(workers: Sequence[SpawnProcess]) -> Iterator[threading.Event]:
    asked_to_end = threading.Event()

    def pass_on(*_: Any) -> None:
        asked_to_end.set()
        for worker in workers:
            worker.terminate()

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        yield asked_to_end
    finally:
        signal.signal(signal.SIGTERM, before)
        for worker in workers:
            worker.kill()


def _wait_for(workers: Sequence[SpawnProcess]) -> list[int]:
    """Exit codes of the workers; when one fails, the others have a few seconds to end by themselves, and are killed."""
    while all(worker.exitcode in (None, 0) for worker in workers):
        running = [worker.sentinel for worker in workers if worker.exitcode is None]
        if not running:
            break
        wait(running)
    deadline = time.monotonic() + SECONDS_TO_END
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    return [0 if worker.exitcode is None else worker.exitcode for worker in workers]


def _read_outcome(folder: Path, rank: int) -> Any:
    path = folder / str(rank)
    return pickle.loads(path.read_bytes()) if path.exists() else None


def _what_happened(codes: Sequence[int], outcomes: Sequence[Any], *, asked_to_end: bool) -> Exception:
    """The error that explains the others: when one worker fails, the others lose their connection to it."""
    for kind in (TerminatedError, UniRouterError):
        for outcome in outcomes:
            if isinstance(outcome, kind):
                return outcome
    if asked_to_end:
        return TerminatedError()
    for rank, code in enumerate(codes):
        if code < 0:
            return UniRouterError(
                f"worker {rank} of {len(codes)} was ended by {signal.Signals(-code).name}, perhaps for lack of memory; "
                "the others were stopped. Run the same command again: it goes on from the last checkpoint."
            )
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            return outcome
    rank = next(rank for rank, code in enumerate(codes) if code > 0)
    return UniRouterError(
        f"worker {rank} of {len(codes)} ended with exit code {codes[rank]} and left no error; the others were stopped. "
        "Look at its last lines above, and run the same command again: it goes on from the last checkpoint."
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
