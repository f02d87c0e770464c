"""``unirouter distill``: a static encoder out of a transformer."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from unirouter_torch.cli.output import Commands, plain_console, print_places


def add_distill(commands: Commands) -> None:
    """Declare ``unirouter distill``."""
    parser = commands.add_parser("distill", help="make a static encoder, which costs nothing to run, of a transformer")
    parser.add_argument("--encoder", required=True, metavar="NAME", help="the transformer: hub id or local folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the static encoder")
    parser.add_argument(
        "--texts",
        nargs="+",
        default=[],
        metavar="FILE",
        help="prompts to mimic the transformer on: .txt with one in a line, .parquet with a column prompt, or routing "
        "tables, on which the two are compared",
    )
    parser.add_argument("--dim", type=int, help="length of an embedding; 256 by default")
    parser.add_argument("--dtype", choices=("float32", "float16", "int8"), help="of the token table; int8 by default")
    parser.add_argument("--form-weight", type=float, help="weight of surface features; 1 by default, 0 without them")
    parser.add_argument("--num-passes", type=int, help="passes over the prompts at most; 12 by default")
    parser.add_argument("--trials", type=int, default=3, help="splits of each table to compare on; 0 for none")
    parser.add_argument("--cache-dir", metavar="DIR", help="folder for embeddings; the user's cache folder by default")
    parser.set_defaults(run=distill)


def distill(options: argparse.Namespace, _: list[str]) -> None:
    """Distil, and say how near the static encoder is to the transformer and what it costs."""
    from unirouter_torch.encoder.distillation import DistillationSettings
    from unirouter_torch.experiments.distill import distill_to_folder

    given: dict[str, Any] = {name.name: getattr(options, name.name, None) for name in fields(DistillationSettings)}
    settings = DistillationSettings(**{name: value for name, value in given.items() if value is not None})
    folder = Path(options.output)
    found = distill_to_folder(
        options.encoder, folder, options.texts, settings, num_trials=options.trials, cache_dir=options.cache_dir
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
    print_places(console, {"encoder": folder})
