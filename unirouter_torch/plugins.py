"""Methods, readers and graders of other packages, found by entry point or by ``package.module:Name``."""

import importlib
import pkgutil
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from unirouter_torch.errors import ConfigError

_Kind = TypeVar("_Kind")


def load_plugin(name: str, *, group: str, setting: str, built_in: Iterable[str]) -> Any:
    """Import what a setting names and this package does not have.

    Args:
        name: Name of an entry point of the group, or ``package.module:Name`` of anything that can be imported.
        group: Group of entry points, such as ``unirouter_torch.methods``.
        setting: The setting that names it, for the error.
        built_in: Names that this package has itself, for the error.

    Returns:
        The object; the caller checks that it is of the kind that it needs.

    Raises:
        ConfigError: There is no such entry point, or the import fails.
    """
    entries = [EntryPoint(name, name, group)] if ":" in name else list(entry_points(group=group, name=name))
    if not entries:
        known = sorted({*built_in, *entry_points(group=group).names})
        raise ConfigError(
            f"{setting}: got {name!r}, expected one of {', '.join(known)}, or package.module:Name of a class in an "
            "installed package."
        )
    try:
        return entries[0].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{setting}: {name!r} cannot be imported: {error}. Install its package into this environment, or correct "
            "the name."
        ) from error


def built_in_classes(package: str, kind: type[_Kind]) -> dict[str, type[_Kind]]:
    """The classes of a kind in the modules of a package of ours, by their ``name``: one more is one more file there."""
    folder = importlib.import_module(package)
    modules = [importlib.import_module(f"{package}.{found.name}") for found in pkgutil.iter_modules(folder.__path__)]
    classes = [
        one for module in modules for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__
    ]
    return {
        str(vars(one)["name"]): one
        for one in classes
        if isinstance(one, type) and issubclass(one, kind) and "name" in vars(one)
    }
