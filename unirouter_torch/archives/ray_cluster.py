"""An archive shared over a Ray cluster, the only home of ray."""

import functools
from collections.abc import Callable
from pathlib import Path

import ray
import torch

from unirouter_torch.archives.score import Scored, Worker, answer_by, fingerprint, open_work
from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.config.router import Backend
from unirouter_torch.data.shards import Answers, answer_shard
from unirouter_torch.errors import ConfigError, UniRouterError
from unirouter_torch.progress import ProgressBar
from unirouter_torch.router.router import Router


def score_on_ray(
    router: str, pattern: str, folder: Path, settings: ScoreSettings, backend: Backend = "torch"
) -> Scored:
    """The same files as :func:`unirouter_torch.archives.score.score_archive`, each shard by one task of Ray.

    A task takes one GPU where the cluster has any, else one CPU. Ray repeats the tasks of a machine that is lost. The
    cluster is the one this process is connected to, else the one that ``ray.init`` finds, else this machine.

    Args:
        router: Folder of a saved router, or its name; every machine sees the same under it.
        pattern: As :func:`unirouter_torch.data.shards.find_shards` takes it; every machine sees these files.
        folder: Where to write, for every machine the same.
        settings: How to score.
        backend: What runs the encoder, as :meth:`Router.from_pretrained` takes it.

    Raises:
        UniRouterError: As ``score_archive`` does.
        ConfigError: Another machine finds another router.
    """
    loaded = Router.from_pretrained(router, backend=backend)
    # a task's working folder is another one on another machine
    folder = folder.resolve()
    work = open_work(loaded, str(Path(pattern).absolute()), folder, settings, Worker(number=0, count=1))
    place = str(Path(router).resolve()) if Path(router).exists() else router
    connected = ray.is_initialized()
    ray.init(ignore_reinit_error=True)
    try:
        task = _on_gpu_or_cpu().remote
        pending = [task(place, backend, fingerprint(loaded), shard, folder, settings) for shard in work.missing]
        _await(pending)
    finally:
        if not connected:
            ray.shutdown()
    return work.finished()


def _on_gpu_or_cpu() -> "ray.remote_function.RemoteFunction":
    if ray.cluster_resources().get("GPU", 0) >= 1:
        # 0: the process stays for the next task, and so does its router
        return ray.remote(num_gpus=1, max_calls=0)(_score_shard)
    return ray.remote(num_cpus=1)(_score_shard)


def _await(pending: "list[ray.ObjectRef]") -> None:
    bar = ProgressBar("Scoring", len(pending))
    try:
        while pending:
            (done,), pending = ray.wait(pending, num_returns=1)
            ray.get(done)
            bar.advance()
    except ray.exceptions.RayTaskError as error:
        for task in pending:
            ray.cancel(task)
        # Ray's own message is a traceback of the other process
        if isinstance(error.cause, UniRouterError):
            raise error.cause from None
        raise
    finally:
        bar.close()


def _score_shard(
    router: str, backend: Backend, expected: str, shard: Path, folder: Path, settings: ScoreSettings
) -> None:
    answer, rule = _answer_of(router, backend, expected, settings)
    answer_shard(shard, folder / shard.name, settings.column, settings.batch_size, answer, rule)


@functools.lru_cache(maxsize=1)
def _answer_of(
    router: str, backend: Backend, expected: str, settings: ScoreSettings
) -> tuple[Callable[[list[str]], Answers], str]:
    """The answers, and the rule for conversations; loaded once in each process."""
    loaded = Router.from_pretrained(router, backend=backend)
    if fingerprint(loaded) != expected:
        raise ConfigError(f"router: a machine of the Ray cluster finds another router at {router}. Share one folder.")
    answer = answer_by(loaded.to("cuda") if torch.cuda.is_available() else loaded, settings)
    return answer, loaded.conversation
