"""The quickstart cut down to seconds, for the tests that run it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def miniature(folder: Path, *arguments: str, recipe: str = "quickstart", table: str = "simulated:240x12") -> list[str]:
    """A command line for ``train.py`` that writes into ``folder``, where a tiny encoder lies in ``encoder``."""
    return [
        *("--config", str(ROOT / "configs" / f"{recipe}.yaml")),
        *("--output_dir", str(folder / "run"), "--data.cache_dir", str(folder / "cache")),
        *("--data.path", table, "--data.num_calibration", "24", "--encoder.name", str(folder / "encoder")),
        *("--trainer.max_steps", "20", "--trainer.validate_every", "10"),
        *arguments,
    ]
