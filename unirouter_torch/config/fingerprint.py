"""Which settings decide a result: the one rule behind all that is kept and gone on with.

A setting decides unless its field says otherwise, and counts where it differs from its default, so that a new key with
its default leaves all that was kept valid. A change of a default, or of the meaning of a setting, raises the version.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from typing import Any

from unirouter_torch.config.encoder_training import EncoderTrainingConfig

_KEY = "decides"


class Decides(Enum):
    """What a field that does not decide every result says about itself, as ``field(metadata=Decides.NOTHING.mark)``."""

    NOTHING = "nothing"
    """Where things lie: what lies there counts by its content."""
    ROUNDING = "rounding"
    """On which hardware a result is computed: a training that was interrupted goes on elsewhere."""
    BY_NAME = "by name"
    """Only what names this key, as a method does in its ``settings``."""

    @property
    def mark(self) -> dict[str, Any]:
        """Metadata of the field."""
        return {_KEY: self}


def deciding_settings(config: Any, keys: Iterable[str], *, hardware: bool = True) -> dict[str, Any]:
    """The settings that decide a result, as JSON values by dotted key, without those that have their default.

    Args:
        config: A ``TrainConfig``.
        keys: Sections, whose marked fields are left out, and single keys, which always count.
        hardware: Whether the hardware counts.
    """
    found: dict[str, Any] = {}
    for key in keys:
        *parents, name = key.split(".")
        section = config
        for parent in parents:
            section = getattr(section, parent)
        value = getattr(section, name)
        if isinstance(value, EncoderTrainingConfig) and value.mode == "frozen":
            continue  # nothing of it is used
        if not is_dataclass(value):
            (field,) = (field for field in fields(section) if field.name == name)
            found |= {} if value == _default(field) else {key: value}
            continue
        ignored = {Decides.NOTHING, Decides.BY_NAME} | (set() if hardware else {Decides.ROUNDING})
        for field in fields(value):
            setting = getattr(value, field.name)
            if field.metadata.get(_KEY) not in ignored and setting != _default(field):
                found[f"{key}.{field.name}"] = setting
    return found


def digest_of(facts: object) -> str:
    """SHA-256 of JSON values, whatever the order of keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default
