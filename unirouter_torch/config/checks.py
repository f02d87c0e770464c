"""Range checks that name the dotted key."""

import math

from unirouter_torch.errors import ConfigError


def at_least(key: str, value: int | float, least: int | float) -> None:
    """Refuse a value below ``least``.

    Raises:
        ConfigError: The value is smaller, or not a number.
    """
    if not value >= least:
        raise ConfigError(f"{key}: got {value}, expected at least {least}.")


def positive(key: str, value: int | float) -> None:
    """Refuse a value that is not a positive finite number.

    Raises:
        ConfigError: It is not.
    """
    if not 0 < value < math.inf:
        raise ConfigError(f"{key}: got {value}, expected a positive number.")


def fraction(key: str, value: int | float, *, below: float = 1.0) -> None:
    """Refuse a value outside [0, ``below``).

    Raises:
        ConfigError: It is outside.
    """
    if not 0 <= value < below:
        raise ConfigError(f"{key}: got {value}, expected at least 0 and less than {below}.")
