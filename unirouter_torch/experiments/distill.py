"""A static encoder distilled from a transformer, and what it costs in area."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from unirouter_torch.config.distillation import DistillationSettings
from unirouter_torch.config.training import DataConfig, TrainConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.splits import split_table
from unirouter_torch.data.table import RoutingTable
from unirouter_torch.data.texts import read_texts
from unirouter_torch.encoder.distillation import STATE_FILE, Distilled, distill
from unirouter_torch.encoder.embedding_cache import embed_with_cache
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.tensor_cache import cache_folder
from unirouter_torch.errors import ArtifactError
from unirouter_torch.experiments.embedded_table import EmbeddedTable
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.end_to_end import FrozenEndToEnd
from unirouter_torch.methods.method_run import score_on_trial
from unirouter_torch.progress import progress


class Loss(NamedTuple):
    """What routing by the static encoder costs on one table: means over trials of the difference to the transformer.

    Attributes:
        table: Name of the table.
        num_trials: How many splits.
        area: Area of the static router less that of the transformer's.
        mean_squared_error: Squared error of the static router less that of the transformer's.
    """

    table: str
    num_trials: int
    area: float
    mean_squared_error: float


@dataclass(frozen=True, kw_only=True)
class DistillationReport:
    """What a distillation led to."""

    distilled: Distilled
    num_bytes: int
    losses: tuple[Loss, ...]


def distill_to_folder(
    name: str,
    folder: Path,
    texts: Sequence[str],
    settings: DistillationSettings,
    *,
    num_trials: int,
    cache_dir: str | None = None,
) -> DistillationReport:
    """Write a static encoder, and compare routers over it with routers over the transformer.

    Args:
        name: The transformer, as ``encoder.name`` takes it.
        folder: Where to write; an encoder that lies there is replaced.
        texts: Files and tables of prompts; the two are compared on those that have outcomes.
        settings: How to distil.
        num_trials: Splits of each table that the two are compared on; 0 to compare nothing.
        cache_dir: Folder for embeddings; the user's cache folder when not given.

    Raises:
        ArtifactError: The transformer is not found or static already, or the folder holds something else.
        DataError: A file or table holds no prompts.
    """
    own = any((folder / file).exists() for file in ("model.safetensors", STATE_FILE))
    if folder.exists() and any(folder.iterdir()) and not own:
        raise ArtifactError(f"{folder}: holds something else than an encoder. Choose an empty folder.")
    prompts = [read_texts(path) for path in texts]
    cache, encoder = cache_folder(cache_dir), PromptEncoder.from_pretrained(name, form_weight=0.0)
    distilled = distill(encoder, prompts, settings, cache_dir=cache, state_folder=folder, name=str(folder))
    distilled.encoder.save_pretrained(folder)
    tables = [path for path in texts if Path(path).suffix.lower() not in (".txt", ".parquet")] if num_trials else []
    return DistillationReport(
        distilled=distilled,
        num_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        losses=tuple(_compare(load_table(path), encoder, distilled.encoder, num_trials, cache) for path in tables),
    )


def _compare(
    table: RoutingTable, encoder: PromptEncoder, distilled: PromptEncoder, num_trials: int, cache: Path
) -> Loss:
    config = TrainConfig(data=DataConfig(num_calibration=200))
    transformer, static = (
        EmbeddedTable(
            table=table, embedding=embed_with_cache(each, table.prompt_texts, cache_dir=cache), form_dim=each.form_dim
        )
        for each in (encoder, distilled)
    )
    area, squared = 0.0, 0.0
    for seed in progress(range(num_trials), f"Comparing on {table.name}"):
        found = [_scores(replace(config, seed=seed), embedded) for embedded in (transformer, static)]
        area += (found[1][0] - found[0][0]) / num_trials
        squared += (found[1][1] - found[0][1]) / num_trials
    return Loss(table.name, num_trials, area, squared)


def _scores(config: TrainConfig, embedded: EmbeddedTable) -> tuple[float, float]:
    split = split_table(embedded.table, seed=config.seed, unseen_fraction=config.data.unseen_fraction)
    trial = prepare_trial(config, embedded, split, config.seed)
    figures = score_on_trial(FrozenEndToEnd, trial).figures
    area, squared = figures["area"], figures["mean_squared_error"]
    assert area is not None and squared is not None
    return area, squared
