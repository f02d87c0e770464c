"""What the numbers of a trial depend on: the table, the settings, and the code of methods from elsewhere."""

import inspect
import sys
from typing import Any

import unirouter_torch
from unirouter_torch import __version__
from unirouter_torch.config.fingerprint import deciding_settings, digest_of
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.embedded_table import EmbeddedTable
from unirouter_torch.methods.registry import Method
from unirouter_torch.training.starting_router import digest_of_start, read_starting_router


def fingerprint_of(config: TrainConfig, embedded: EmbeddedTable) -> str:
    """What a trial's numbers depend on, besides its seed, what it varies, and the settings of a method."""
    settings = deciding_settings(config, ("data", "encoder", "evaluation.curve"))
    facts = [__version__, settings, embedded.table.content_hash]
    if config.data.unseen_fraction == 0:
        facts.append("seen LLMs by all outcomes")  # trials from before that rule are computed again
    start = read_starting_router(config)
    return digest_of([*facts, digest_of_start(config)] if start and start.encoder_folder else facts)


def settings_of(config: TrainConfig, embedded: EmbeddedTable, method: Method) -> str:
    """Digest of what a method's numbers depend on beside the trial; empty where that is nothing.

    Those are the settings that it names; for one that trains a head from where, and on which tables; and for one of
    another package its source text, as its version is not that of this package.
    """
    facts: list[Any] = []
    if settings := deciding_settings(config, method.settings):
        facts.append(settings)
    if method.trains_head:
        facts += [[other.content_hash for other in embedded.others], digest_of_start(config)]
    if method.__module__.partition(".")[0] != unirouter_torch.__name__:
        facts.append(inspect.getsource(sys.modules[method.__module__]))
    return digest_of(facts) if facts else ""
