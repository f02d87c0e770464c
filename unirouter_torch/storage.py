"""Files that are either whole or absent: atomic writes, checksums, and a format version."""

# over 300 lines: atomic files, atomic folders and their recovery after a kill are read against one another

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from unirouter_torch.errors import ArtifactError, first_problem

MANIFEST_NAME = "manifest.json"

_HERE, _EXCHANGE = -100, 2
"""``AT_FDCWD`` and ``RENAME_EXCHANGE`` of Linux."""

_INSIDE = r"^(?!\.\.(/|$))[^/\\\x00]+(/(?!\.\.(/|$))[^/\\\x00]+)*$"
"""A relative path that does not lead out of a folder."""


class _Manifest(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", regex_engine="python-re")

    kind: str
    format_version: Annotated[int, Field(ge=1)]
    sha256: Annotated[
        dict[Annotated[str, Field(pattern=_INSIDE)], Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]],
        Field(min_length=1),
    ]


def sha256_of_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content, or over the names and contents of all files of a folder."""
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(item for item in path.rglob("*") if item.is_file())
    listed = "".join(f"{sha256_of_file(item)}  {item.relative_to(path).as_posix()}\n" for item in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def cannot_be_written(path: Path, error: Exception) -> ArtifactError:
    """What to say where a library fails to write, as on a full disk, with an error of no type of its own.

    Args:
        path: What was to be written.
        error: What the library raised.
    """
    reason = str(error).partition("\n")[0]
    return ArtifactError(f"{path}: cannot be written ({reason}). Is the disk full? Make room, and save it again.")


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[BinaryIO]:
    """Give an open file that takes the place of ``path`` when the block ends without an error.

    So ``path`` holds either its old content or the new one, never a part.

    Args:
        path: The file to write; its folder is made where missing.
        replace: Whether it may be there already. If not, exactly one of several writers of one path succeeds.

    Yields:
        The file to write into.

    Raises:
        FileExistsError: The file is there and must not be replaced; it is left as it is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` so that ``path`` holds either its old content or the new one, never a part.

    Args:
        path: The file to write; its folder is made where missing.
        content: All bytes of the new file.
    """
    with atomic_file(path) as file:
        file.write(content)


def create_atomically(path: Path, content: bytes) -> None:
    """Write a new file that appears whole or not at all.

    Raises:
        FileExistsError: The file exists; it is left as it is.
    """
    with atomic_file(path, replace=False) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` atomically as indented JSON with a final newline; NaN and infinity are refused."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode("utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtifactError: The file is missing or is no JSON.
    """
    try:
        return json.loads(read_file(path).decode("utf-8"), parse_constant=refuse_constant)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: this file is missing. Save the folder again, or copy it whole.") from None
    except (ValueError, RecursionError) as error:  # integers of thousands of digits, and nesting as deep
        raise ArtifactError(f"{path}: expected JSON, got something else ({error}). Save the folder again.") from None


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and infinity, which are no JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{name} is no number")


def read_file(path: Path) -> bytes:
    """Content of a regular file; a pipe or a device, which may never end, is refused.

    Raises:
        ArtifactError: It is something else.
        FileNotFoundError: It is missing.
    """
    if path.exists() and not path.is_file():
        raise ArtifactError(f"{path}: expected a file, got something else. Save the folder again.")
    return path.read_bytes()


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write named tensors atomically as safetensors."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save_safetensors(contiguous))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors from a safetensors file onto the CPU.

    Raises:
        ArtifactError: The file is missing or damaged.
    """
    with _reading_tensors(path):
        tensors: dict[str, Tensor] = load_safetensors(read_file(path))
    return tensors


def read_tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the named tensors of a safetensors file, from its header alone.

    Raises:
        ArtifactError: The file is missing, or its header is damaged or does not fit the length of the file.
    """
    with _reading_tensors(path), safe_open(path, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


@contextlib.contextmanager
def _reading_tensors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ArtifactError(f"{path}: this file is missing. Save the folder again, or copy it whole.") from None
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:  # a type that torch lacks is a KeyError
        raise ArtifactError(f"{path}: damaged safetensors file ({error}). Save the folder again.") from None


def digest_of_tensors(tensors: dict[str, Tensor]) -> str:
    """Hexadecimal SHA-256 over names, types, shapes and values; independent of the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_folder(
    path: Path, kind: str, format_version: int, *, retire: Callable[[Path], None] | None = None
) -> Iterator[Path]:
    """Give a temporary folder that takes the place of ``path`` when the block ends without an error.

    A manifest with the kind, the format version and the SHA-256 of every file is added, so that
    :func:`check_folder` can tell a damaged folder. An existing folder of the same kind is replaced as a whole.

    Args:
        path: The folder to make.
        kind: What the folder holds, for example ``"router"``.
        format_version: Version of its layout, a positive integer.
        retire: Gets the folder that was replaced; where it raises, that folder is put back.

    Yields:
        The temporary folder to write into.

    Raises:
        ArtifactError: ``path`` exists and is no folder of this kind, or it cannot be written, as on a full
            disk; it is left as it is.
    """
    path = path.absolute()
    recover_folder(path)
    if path.exists() and not _may_be_replaced(path, kind):
        raise ArtifactError(
            f"{path}: exists already and is not a saved {kind}; refusing to replace it. Choose another folder."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        files = sorted(item for item in temporary.rglob("*") if item.is_file())
        checksums = {item.relative_to(temporary).as_posix(): sha256_of_file(item) for item in files}
        write_json(temporary / MANIFEST_NAME, {"kind": kind, "format_version": format_version, "sha256": checksums})
        temporary.chmod(0o755)
        _swap(temporary, path, retire)
    except Exception as error:
        if "(os error " in str(error):  # of safetensors and tokenizers, which are written in Rust
            raise cannot_be_written(path, error) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_folder(path: Path, kind: str, format_version: int, *, growing: str = "") -> None:
    """Check that ``path`` is a whole, undamaged folder that :func:`atomic_folder` wrote, and holds nothing else.

    Files whose names begin with a dot are passed over: they belong to other tools.

    Args:
        path: The folder.
        kind: What it must hold.
        format_version: The newest layout that the caller can read.
        growing: Folder inside it where files come later, which have checksums of their own; none when empty.

    Raises:
        ArtifactError: The folder is missing, of another kind, newer than ``format_version``, a file in it is missing,
            differs from its checksum or has none, or something in it is no file.
    """
    recover_folder(path)
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such folder; expected a saved {kind}. Check the path.")
    if (path / kind / MANIFEST_NAME).is_file() and not (path / MANIFEST_NAME).exists():
        raise ArtifactError(f"{path}: expected a saved {kind}, which is the folder {path / kind}. Name that one.")
    checksums = read_checksums(path, kind, format_version)
    for file in _files_in(path):
        name = file.relative_to(path).as_posix()
        is_later = bool(growing) and file.parent == path / growing
        if name not in checksums and name != MANIFEST_NAME and not is_later:
            raise ArtifactError(f"{file}: not part of the saved {kind}. Move it elsewhere, or copy the {kind} again.")
    for name, expected in checksums.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file}: this file is missing. Copy the {kind} whole, or save it again.")
        if sha256_of_file(file) != expected:
            raise ArtifactError(f"{file}: damaged, its checksum differs from the manifest. Save the {kind} again.")


def read_checksums(path: Path, kind: str, format_version: int) -> dict[str, str]:
    """SHA-256 of every file of a folder by relative path, as its manifest says; errors as :func:`check_folder`."""
    manifest = read_json(path / MANIFEST_NAME)
    if not isinstance(manifest, dict) or manifest.get("kind") != kind:
        raise ArtifactError(f"{path}: expected a saved {kind}, got something else. Check the path.")
    version = manifest.get("format_version")
    if isinstance(version, int) and not isinstance(version, bool) and version > format_version:
        raise ArtifactError(
            f"{path}: format version {version}, but this version of unirouter_torch reads up to {format_version}. "
            "Upgrade unirouter_torch."
        )
    try:
        return _Manifest.model_validate(manifest).sha256
    except ValidationError as error:
        raise ArtifactError(
            f"{path / MANIFEST_NAME}: damaged manifest ({first_problem(error)}). Save the {kind} again."
        ) from None


def _files_in(path: Path) -> Iterator[Path]:
    """All files of a folder and of those in it, but for hidden ones."""
    for item in sorted(path.iterdir()):
        if item.name.startswith("."):
            continue
        if item.is_dir():
            yield from _files_in(item)
        elif item.is_file() or item.is_symlink():  # one that leads nowhere is missing
            yield item
        else:
            raise ArtifactError(f"{item}: expected a file, got something else. Move it elsewhere.")


def raise_format_version(path: Path, format_version: int) -> None:
    """Note in the manifest of a folder that a reader must know this format version now; a newer one stays."""
    manifest = read_json(path / MANIFEST_NAME)
    if manifest["format_version"] < format_version:
        write_json(path / MANIFEST_NAME, manifest | {"format_version": format_version})


def _may_be_replaced(path: Path, kind: str) -> bool:
    if not path.is_dir():
        return False
    if not any(path.iterdir()):
        return True
    try:
        manifest = read_json(path / MANIFEST_NAME)
    except ArtifactError:
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == kind


def recover_folder(path: Path) -> None:
    """Put a folder back that was moved aside by a process that was killed before its successor took the place.

    Only systems without an atomic exchange of folders ever need it.

    Args:
        path: Where the folder belongs.
    """
    if path.exists() or not path.parent.is_dir():
        return
    prefix = f".{path.name}.old."
    aside = [item / "old" for item in path.parent.iterdir() if item.name.startswith(prefix)]
    aside = [item for item in aside if item.is_dir()]
    if aside:
        latest = max(aside, key=lambda item: item.parent.stat().st_mtime_ns)
        with contextlib.suppress(OSError):  # another process did it, or the place cannot be written
            latest.rename(path)
            latest.parent.rmdir()


def _swap(temporary: Path, path: Path, retire: Callable[[Path], None] | None) -> None:
    if not path.exists():
        temporary.replace(path)
        return
    if exchange(temporary, path):
        try:
            if retire is not None:
                retire(temporary)
        except BaseException:
            exchange(temporary, path)
            raise
        return
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
    path.replace(aside / "old")
    try:
        if retire is not None:
            retire(aside / "old")
        temporary.replace(path)
    except BaseException:
        (aside / "old").replace(path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Let two paths change places in one step, so that neither is missing at any moment.

    Python has no call for it; this is ``renameat2`` of Linux.

    Returns:
        Whether it was done; False where the system or the file system cannot, or a path is missing.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    result: int = rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE)
    return result == 0
