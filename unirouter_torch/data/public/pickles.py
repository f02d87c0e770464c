"""Reading pickles of other people without running what they name."""

import pickle
from collections.abc import Collection
from io import BytesIO
from typing import Any

from unirouter_torch.errors import DataError

_CORE = tuple(f"numpy.{core}.{module}" for core in ("core", "_core") for module in ("multiarray", "numeric"))
FRAME_GLOBALS = frozenset(
    {
        *((module, "slice") for module in ("builtins", "__builtin__")),
        ("_codecs", "encode"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        *((module, name) for module in _CORE for name in ("_reconstruct", "scalar", "_frombuffer")),
        *((module, "DataFrame") for module in ("pandas", "pandas.core.frame")),
        *((module, "Index") for module in ("pandas", "pandas.core.indexes.base")),
        *((module, "RangeIndex") for module in ("pandas", "pandas.core.indexes.range")),
        ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.internals.managers", "BlockManager"),
        ("pandas._libs.internals", "_unpickle_block"),
    }
)
"""All that a pandas table of numbers and texts needs; none of it runs code that the file chooses."""


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes, allowed: Collection[tuple[str, str]]) -> None:
        super().__init__(BytesIO(content))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not on the list of harmless names")
        return super().find_class(module, name)


def load_pickle(content: bytes, *, allowed: Collection[tuple[str, str]], place: str) -> Any:
    """Unpickle with an allow list: any class or function outside it ends the reading before it is called.

    Args:
        content: The pickle.
        allowed: Pairs of module and name that it may refer to; none for plain values.
        place: Where it was read, for messages.

    Returns:
        What the pickle holds.

    Raises:
        DataError: It refers to something else, or it is damaged.
    """
    try:
        return _RestrictedUnpickler(content, allowed).load()
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(
            f"{place}: this pickle cannot be read safely ({error}). Take the file of the revision in "
            "docs/evidence/public_tables.md; if it is that file, report the name that it asks for."
        ) from error
