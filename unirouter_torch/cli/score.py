"""``unirouter route-archive``: millions of logged prompts through a saved router."""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.cli.options import Folder, SavedRouter, Shown
from unirouter_torch.cli.output import open_router, plain_console, print_places
from unirouter_torch.config.choice import BackendOptions
from unirouter_torch.errors import ConfigError

if TYPE_CHECKING:
    from unirouter_torch.archives.score import Scored


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(BackendOptions):
    """Options of ``unirouter route-archive``."""

    router: SavedRouter
    """Folder of a saved router."""
    input: Annotated[str, Shown(metavar="PATTERN")]
    """Parquet files, such as 'logs/*.parquet'."""
    output: Folder
    """Folder for the same files with the choices."""
    settings: ScoreSettings
    """How they are routed."""
    ray: bool = False
    """Share the files over a Ray cluster (extra ``ray``)."""


def score(options: ScoreOptions) -> None:
    """Choose an LLM for every prompt of an archive of Parquet files."""
    done = (_score_on_ray if options.ray else _score_here)(options)
    console = plain_console()
    console.print(
        f"{done.num_prompts:,} prompts in {done.num_shards:,} shards; {done.num_kept:,} shards were there already"
    )
    print_places(console, {"shards": options.output})


def _score_here(options: ScoreOptions) -> "Scored":
    import torch

    from unirouter_torch.archives.score import score_archive

    router = open_router(options.router, options.backend)
    if torch.cuda.is_available():
        router = router.to(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
    return score_archive(router, options.input, options.output, options.settings)


def _score_on_ray(options: ScoreOptions) -> "Scored":
    try:
        from unirouter_torch.archives.ray_cluster import score_on_ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ConfigError("ray: Ray is not installed. Run `pip install 'unirouter_torch[ray]'`.") from None
    return score_on_ray(options.router, options.input, options.output, options.settings, options.backend)
