"""Tensors kept on disk: a file that cannot be read or written costs a warning and time, never the run."""

import warnings
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from unirouter_torch.errors import ArtifactError
from unirouter_torch.storage import read_tensors, write_tensors


def cache_folder(asked: str | None) -> Path:
    """The folder ``asked`` for, else ``unirouter_torch`` in the user's cache folder, as the system has it.

    On Linux that is ``$XDG_CACHE_HOME``, or ``~/.cache`` where it is not set.
    """
    return Path(asked) if asked else user_cache_path("unirouter_torch", appauthor=False)


def read_cached(path: Path, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """The tensor of that name in a file; None, with a warning, where it is damaged or has another shape or type.

    Args:
        path: The file; None comes back without a warning where there is none.
        name: Name of the tensor in it.
        shape: What is expected.
        dtype: What is expected.
    """
    try:
        if not path.exists():
            return None
        tensor = read_tensors(path).get(name)
    except (ArtifactError, OSError) as error:
        warnings.warn(f"what is cached is computed anew: {error}", stacklevel=2)
        return None
    if tensor is None or tensor.shape != shape or tensor.dtype != dtype:
        warnings.warn(f"{path}: expected {name} of shape {shape} and {dtype}; computing it anew.", stacklevel=2)
        return None
    return tensor


def write_cached(path: Path, name: str, tensor: Tensor) -> None:
    """Write a tensor under a name; a warning where the folder cannot be written."""
    try:
        write_tensors(path, {name: tensor})
    except OSError as error:
        warnings.warn(
            f"{path.parent}: cannot be written ({error.strerror}); going on without the cache. "
            "Choose another cache folder.",
            stacklevel=2,
        )
