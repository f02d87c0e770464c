"""The routing methods by name: those of this folder, and those of other packages."""

import functools
import inspect
from typing import Any

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.errors import ConfigError
from unirouter_torch.methods.method import RoutingMethod
from unirouter_torch.plugins import built_in_classes, load_plugin

Method = type[RoutingMethod[Any]]

GROUP = "unirouter_torch.methods"
SETTING = "evaluation.methods"


@functools.cache
def built_in_methods() -> dict[str, Method]:
    """Every method of this folder by its name, in the order of tables."""
    found: dict[str, Method] = built_in_classes("unirouter_torch.methods", RoutingMethod)  # type: ignore[type-abstract]
    return dict(sorted(found.items(), key=lambda item: item[1].place))


@functools.cache
def method_class(name: str) -> Method:
    """The method of a name.

    Args:
        name: One of this package, an entry point of ``unirouter_torch.methods``, or ``package.module:Class``.

    Raises:
        ConfigError: There is none, or it is no class of a routing method.
    """
    if name in built_in_methods():
        return built_in_methods()[name]
    found = load_plugin(name, group=GROUP, setting=SETTING, built_in=built_in_methods())
    if not (inspect.isclass(found) and issubclass(found, RoutingMethod)) or inspect.isabstract(found):
        raise ConfigError(f"{SETTING}: {name!r} is {found!r}, expected a class that implements RoutingMethod.")
    return found


def methods_to_compare(config: TrainConfig, default: tuple[str, ...] | None = None) -> dict[str, Method]:
    """The methods of ``evaluation.methods``, by the names there.

    Args:
        config: The run.
        default: Those where the config names none; every one of this package that the config has the data for, when
            not given.

    Raises:
        ConfigError: A name is unknown, or a method trains on ``data.tables``, which is empty.
    """
    if default is None:
        offered = {name: kind for name, kind in built_in_methods().items() if not kind.is_stage}
        default = tuple(name for name, kind in offered.items() if config.data.tables or not kind.needs_other_tables)
    methods = {name: method_class(name) for name in config.evaluation.methods or default}
    for name, kind in methods.items():
        if kind.needs_other_tables and not config.data.tables:
            raise ConfigError(f"data.tables: got none, expected the tables that the method {name} trains on.")
    return methods


def display_name(name: str) -> str:
    """How tables and figures call a method; by its name where there is none of that name any more."""
    method = _find(name)
    return name if method is None else method.title or name


def knows_more(name: str) -> bool:
    """Whether the method of a name sees what no router can: reports mark it, and the best is one of the others."""
    method = _find(name)
    return method is not None and (method.is_clairvoyant or method.is_oracle)


def is_reference(name: str) -> bool:
    """Whether the method of a name is a bound, drawn only where it lies within axes that show where routers differ."""
    method = _find(name)
    return method is not None and method.is_reference


def _find(name: str) -> Method | None:
    try:
        return method_class(name)
    except ConfigError:
        return None
