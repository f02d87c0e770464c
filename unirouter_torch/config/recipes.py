"""Recipes by name: the YAML files of ``configs/``, which the wheel holds as ``unirouter_torch/recipes/``."""

import difflib
from pathlib import Path

from unirouter_torch.errors import ConfigError

_PACKAGE = Path(__file__).parents[1]


def recipes() -> dict[str, Path]:
    """Every recipe by its name: its path without ``.yaml``, such as ``quickstart`` or ``research/zeroeval``."""
    shipped = _PACKAGE / "recipes"
    folder = shipped if shipped.is_dir() else _PACKAGE.parent / "configs"
    files = sorted(folder.rglob("*.yaml"), key=lambda file: (len(file.parts), file))
    return {file.relative_to(folder).with_suffix("").as_posix(): file for file in files}


def purpose_of(recipe: Path) -> str:
    """What a recipe is for and needs: the comment at its top."""
    lines = recipe.read_text(encoding="utf-8").splitlines()
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "\n".join(line.removeprefix("#").strip() for line in lines[:first])


def find_recipe(name: str) -> Path:
    """The file of a recipe, or of a path.

    Raises:
        ConfigError: There is neither a file nor a recipe of that name.
    """
    if Path(name).is_file():
        return Path(name)
    known = recipes()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"recipes are {', '.join(known)}."
    raise ConfigError(f"config: got {name!r}, expected a YAML file or the name of a recipe; {hint}")
