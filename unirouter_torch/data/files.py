"""Files of records as people have them: JSON Lines, JSON, CSV, Parquet, plain or compressed; by their content."""

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from unirouter_torch.data.json_stream import ByteFile, JSONStream
from unirouter_torch.errors import DataError, first_few

JSONObject: TypeAlias = dict[str, Any]
FileKind: TypeAlias = Literal["parquet", "zip", "json", "lines", "csv", "empty"]
"""``json`` is one document, ``lines`` an object in each line."""

HEAD_BYTES = 1 << 18
_BOM = b"\xef\xbb\xbf"
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)


@contextmanager
def open_bytes(path: Path) -> Iterator[ByteFile]:
    """The bytes of a file, unpacked where it is compressed by gzip, Zstandard, bzip2 or xz.

    Raises:
        DataError: The file is missing, or damaged.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file. Correct the path.")
    with path.open("rb") as raw:
        magic = raw.read(6)
    try:
        with ExitStack() as stack:
            yield stack.enter_context(_unpacking(path, magic))
    except _BROKEN as error:
        raise DataError(f"{path}: expected a whole file ({error}). Write or copy it again.") from None


def _unpacking(path: Path, magic: bytes) -> Any:
    if magic.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rb")
    if magic.startswith(b"BZh"):
        return bz2.open(path, "rb")
    if magic.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(path, "rb")
    if magic.startswith(b"\x28\xb5\x2f\xfd"):
        import pyarrow as pa  # here, as it takes 44 MB that most files need not

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def read_head(path: Path) -> bytes:
    """The first bytes of a file, unpacked.

    Raises:
        DataError: The file is missing, or damaged, or in UTF-16.
    """
    with open_bytes(path) as file:
        head = file.read(HEAD_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: got UTF-16, expected UTF-8. Save it in UTF-8.")
    return head.removeprefix(_BOM)


def kind_of(head: bytes) -> FileKind:
    """What a file is by its first bytes."""
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    begin = head.lstrip()
    if not begin:
        return "empty"
    if begin.startswith(b"["):
        return "json"
    if not begin.startswith(b"{"):
        return "csv"
    line, is_whole, _ = begin.partition(b"\n")
    if not is_whole:  # one line fills the head: only its end would say more, and both are read alike
        return "lines"
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return "json"
    return "lines"


def json_paths(head: bytes) -> frozenset[str]:
    """Names in the first JSON object of a file down to its depths; of a list ``data`` those of its items as well.

    Args:
        head: Its first bytes.
    """
    found = set()
    try:
        for path in JSONStream(io.BytesIO(head)).paths():
            found |= {path.removeprefix("[]."), path.removeprefix("data[].")}
    except (ValueError, RecursionError):
        pass  # the head ends within the document
    return frozenset(found)


def read_records(path: Path) -> Iterator[tuple[str, JSONObject]]:
    """The objects of a file of JSON Lines or of a JSON array, one at a time, each with its place.

    Raises:
        DataError: The file is missing or damaged, or something in it is no JSON object in UTF-8.
    """
    if read_head(path).lstrip().startswith(b"["):
        for number, value in enumerate(read_items(path), start=1):
            yield (place := f"{path}, entry {number}"), as_object(value, place)
        return
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            place = f"{path}, line {number}"
            yield place, as_object(parse_json(line, place), place)


def read_items(path: Path, *members: str) -> Iterator[Any]:
    """The items of the array in a JSON document that is the value of a member of a member, one at a time.

    Args:
        path: The file.
        members: Names from the outermost object on; none for an array at the top.

    Raises:
        DataError: The file is missing or damaged, is no JSON, or has no such array.
    """
    with open_bytes(path) as file:
        try:
            yield from JSONStream(file).items(members)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}: expected JSON in UTF-8 ({error}). Write or copy the file again.") from None


def parse_json(content: bytes | str, place: str) -> Any:
    """Parse JSON.

    Raises:
        DataError: It is no JSON in UTF-8.
    """
    try:
        return json.loads(content.decode("utf-8") if isinstance(content, bytes) else content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: expected JSON in UTF-8 ({error}). Write or copy the file again.") from None


def as_object(value: Any, place: str) -> JSONObject:
    """The value, if it is a JSON object.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"{place}: got a {type(value).__name__}, expected a JSON object. Check the format of the file.")
    return value


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a file, with their ends.

    Raises:
        DataError: The file is missing, damaged, or not in UTF-8.
    """
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                yield (line.removeprefix(_BOM) if number == 1 else line).decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: expected UTF-8 ({error}). Save it in UTF-8.") from None


def is_hidden(path: Path, folder: Path) -> bool:
    """Whether a file in a folder, or a folder between them, has a name that begins with a point."""
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def shown(value: object) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def named_columns(names: Sequence[str]) -> str:
    """Names of columns for a message."""
    return first_few([repr(name) for name in names]) or "none"
