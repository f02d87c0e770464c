"""``unirouter route-archive``: an archive of logged prompts through a router, shard by shard."""

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.data.shards import (
    ADDED_COLUMNS,
    Answers,
    answer_shard,
    count_prompts,
    find_shards,
    refuse_same_place,
)
from unirouter_torch.errors import ConfigError, DataError, PoolError
from unirouter_torch.progress import ProgressBar
from unirouter_torch.router.pool_history import pool_digest
from unirouter_torch.router.router import Router
from unirouter_torch.storage import digest_of_tensors, read_json, write_json

SETTINGS_FILE = "_score.json"
"""Named so that readers of a folder of Parquet files pass over it."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What one process did.

    Attributes:
        num_prompts: Prompts routed.
        num_shards: Shards written.
        num_kept: Shards that an earlier run had finished.
    """

    num_prompts: int
    num_shards: int
    num_kept: int


@dataclass(frozen=True, kw_only=True)
class Worker:
    """Which part of the shards a process takes: every ``count``-th, from its own number on."""

    number: int
    count: int

    @classmethod
    def from_environment(cls) -> "Worker":
        """As ``torchrun`` says it by RANK and WORLD_SIZE; without them the only one."""
        return cls(number=int(os.environ.get("RANK", "0")), count=int(os.environ.get("WORLD_SIZE", "1")))


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done.

    Attributes:
        missing: Shards to write, in order, and the number of their prompts.
        num_kept: Shards that an earlier run had finished.
    """

    missing: dict[Path, int]
    num_kept: int

    def finished(self) -> Scored:
        """What was done once it is done."""
        return Scored(num_prompts=sum(self.missing.values()), num_shards=len(self.missing), num_kept=self.num_kept)


def score_archive(
    router: Router, pattern: str, folder: Path, settings: ScoreSettings, worker: Worker | None = None
) -> Scored:
    """Write every shard of an archive again, with the chosen LLM and its estimated error beside each prompt.

    A shard appears whole or not at all, and is kept by a later run with the same router and settings.

    Args:
        router: On the device that is to do the work.
        pattern: As :func:`unirouter_torch.data.shards.find_shards` takes it.
        folder: Where to write: shards of the same names, and ``_score.json``.
        settings: How to score.
        worker: Which shards are this process's; as the environment says where not given.

    Raises:
        PoolError: The router has no LLM yet, or the cost weight is negative or not finite.
        ConfigError: The batch size is below 1, or the folder holds something else: other settings, another router.
        DataError: No shard matches, or a shard is not what was expected; the others stay.
    """
    work = open_work(router, pattern, folder, settings, worker or Worker.from_environment())
    answer = answer_by(router, settings)
    bar = ProgressBar("Scoring", sum(-(-size // settings.batch_size) for size in work.missing.values()))

    def counted(prompts: list[str]) -> Answers:
        answers = answer(prompts)
        if prompts:
            bar.advance()
        return answers

    try:
        for shard in work.missing:
            target, rule = folder / shard.name, router.conversation
            answer_shard(shard, target, settings.column, settings.batch_size, counted, rule)
    finally:
        bar.close()
    return work.finished()


def open_work(router: Router, pattern: str, folder: Path, settings: ScoreSettings, worker: Worker) -> Work:
    """Check everything, write down whose shards the folder holds, and say which of them are missing.

    Arguments and errors are those of :func:`score_archive`.
    """
    answer_by(router, settings)
    shards = find_shards(pattern)
    refuse_same_place(shards, folder)
    added = ADDED_COLUMNS if settings.all_estimates else ADDED_COLUMNS[:2]
    sizes = {shard: count_prompts(shard, settings.column, added) for shard in shards}
    _claim(folder, router, settings)
    mine = shards[worker.number :: worker.count]
    missing = [shard for shard in mine if not _is_finished(folder / shard.name, settings.column, sizes[shard])]
    return Work(missing={shard: sizes[shard] for shard in missing}, num_kept=len(mine) - len(missing))


def fingerprint(router: Router) -> str:
    """Hexadecimal SHA-256 of all that decides a choice."""
    calibration = router.calibration
    texts = [router.encoder.fingerprint(), pool_digest(router.pool), *calibration.texts]
    tensors = {"calibration": calibration.cluster_probability, str(texts): torch.zeros(0)}
    return digest_of_tensors(router.head.state_dict() | tensors)


def answer_by(router: Router, settings: ScoreSettings) -> Callable[[list[str]], Answers]:
    """The function from the prompts of a batch to their answers.

    Raises:
        PoolError: The router has no LLM yet, or an option is out of range; as in ``Router.route``.
    """
    if not router.pool.names:
        raise PoolError("score: this router has no LLM yet. Give it your LLMs first, by `unirouter adopt`.")
    # a bad option shows before anything is read
    names = router.chooser(settings.cost_weight, **settings.choice).pool.names

    def answer(prompts: list[str]) -> Answers:
        chosen, estimated = router.choose_and_estimate(prompts, settings.cost_weight, **settings.choice)
        return Answers(
            llm=[names[column] for column in chosen.tolist()],
            estimated_error=estimated.gather(1, chosen.unsqueeze(1)).squeeze(1),
            estimated_errors=estimated if settings.all_estimates else None,
        )

    return answer


def _claim(folder: Path, router: Router, settings: ScoreSettings) -> None:
    """Write down whose shards the folder holds, or refuse a folder of something else."""
    facts: dict[str, Any] = asdict(settings) | {"among": settings.llms and list(settings.llms)}
    del facts["batch_size"], facts["llms"]
    facts |= {"router": fingerprint(router), "llms": list(router.pool.names)}
    path = folder / SETTINGS_FILE
    # looked at first: another worker writes its settings before its shards
    others = [item.name for item in folder.glob("[!.]*") if item.name != SETTINGS_FILE]
    if path.exists():
        found = read_json(path)
        other = [key for key, value in facts.items() if not isinstance(found, dict) or found.get(key) != value]
        if other:
            raise ConfigError(
                f"output: the shards in {folder} were made with another {' and '.join(other)} ({SETTINGS_FILE}). "
                "Choose another folder, or remove this one."
            )
    elif others:
        raise ConfigError(f"output: {folder} holds files, but no {SETTINGS_FILE}. Choose an empty folder.")
    write_json(path, facts)


def _is_finished(target: Path, column: str, num_prompts: int) -> bool:
    if not target.exists():
        return False
    found = count_prompts(target, column)
    if found != num_prompts:
        raise DataError(
            f"{target}: made from {found} prompts, but its shard has {num_prompts} now. Remove it to score it again."
        )
    return True
