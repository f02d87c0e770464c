"""``unirouter distill``: a static encoder out of a transformer."""

from dataclasses import dataclass, field
from typing import Annotated

from unirouter_torch.cli.options import Folder, Name, Shown
from unirouter_torch.cli.output import plain_console, print_places
from unirouter_torch.config.distillation import DistillationSettings


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Options of ``unirouter distill``."""

    encoder: Name
    """The transformer: hub id or local folder."""
    output: Folder
    """Folder of the static encoder."""
    texts: Annotated[list[str], Shown(metavar="FILE")] = field(default_factory=list)
    """Prompts to mimic the transformer on: .txt with one in a line, .parquet with a column prompt, or routing tables,
    on which the two are compared."""
    trials: int = 3
    """Splits of each table to compare on; 0 for none."""
    cache_dir: Annotated[str | None, Shown(metavar="DIR")] = None
    """Folder for embeddings; the user's cache folder when not given."""
    settings: DistillationSettings
    """How it is made."""


def distill(options: DistillOptions) -> None:
    """Make a static encoder, which costs nothing to run, of a transformer."""
    from unirouter_torch.experiments.distill import distill_to_folder

    found = distill_to_folder(
        options.encoder,
        options.output,
        options.texts,
        options.settings,
        num_trials=options.trials,
        cache_dir=options.cache_dir,
    )
    distilled, console = found.distilled, plain_console()
    console.print(f"{distilled.encoder.text_dim} dimensions, {found.num_bytes / 1e6:.1f} MB", soft_wrap=True)
    if options.texts:
        console.print(
            f"cosine with the transformer on held-out prompts: {distilled.cosine:.3f}, before the tuning "
            f"{distilled.cosine_before:.3f} ({distilled.num_passes} passes)",
            soft_wrap=True,
        )
    for loss in found.losses:
        console.print(
            f"{loss.table}: area {loss.area:+.4f}, squared error {loss.mean_squared_error:+.4f} against the "
            f"transformer, mean of {loss.num_trials} trials",
            soft_wrap=True,
        )
    print_places(console, {"encoder": options.output})
