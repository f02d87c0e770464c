"""A JSON document, item by item. By hand, as streaming parsers refuse NaN and half emojis, which logs hold."""

import codecs
import json
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

_CHUNK = 1 << 16
_SPACE = " \t\n\r\ufeff"
_SCAN = json.JSONDecoder().raw_decode


@runtime_checkable
class ByteFile(Protocol):
    """A file of bytes that is open for reading."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes, or all that are left."""

    def __iter__(self) -> Iterator[bytes]:
        """Its lines."""


class JSONStream:
    """Reads a document front to back and holds one value of it at a time.

    Args:
        file: The document, in UTF-8.
    """

    def __init__(self, file: ByteFile) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._is_whole = False

    def items(self, members: Sequence[str] = ()) -> Iterator[Any]:
        """The items of an array, which is the value of a member of a member.

        Args:
            members: Names from the outermost object on; none for an array at the top.

        Raises:
            ValueError: The document is no JSON, or there is no such array.
        """
        for name in members:
            self._enter(name)
        self._expect("[")
        if self._peek() == "]":
            return
        while True:
            yield self._value()
            if self._next(",]") == "]":
                return

    def members_before(self, name: str) -> dict[str, Any]:
        """The members of the document that precede one of that name; all where there is none.

        Raises:
            ValueError: The document is no JSON object.
        """
        found = {}
        self._expect("{")
        for member in self._names():
            if member == name:
                break
            found[member] = self._value()
        return found

    def paths(self, depth: int = 6) -> Iterator[str]:
        """Names of members down to some depth, such as ``a.b[].c``; of arrays the first item; in order of the document.

        Raises:
            ValueError: The document is no JSON, or was cut off.
        """
        yield from self._paths("", depth)

    def _paths(self, place: str, depth: int) -> Iterator[str]:
        first = self._peek()
        if depth == 0 or first not in "[{":
            self._value()
            return
        self._expect(first)
        if first == "[":
            if self._peek() != "]":
                yield from self._paths(f"{place}[]", depth - 1)
                while self._next(",]") == ",":
                    self._value()
            else:
                self._expect("]")
            return
        for name in self._names():
            path = f"{place}.{name}".lstrip(".")
            yield path
            yield from self._paths(path, depth - 1)

    def _names(self) -> Iterator[str]:
        """Names of the members of an object that was entered; the caller reads each value in between."""
        if self._peek() == "}":
            self._expect("}")
            return
        while True:
            name = self._value()
            self._expect(":")
            yield str(name)
            if self._next(",}") == "}":
                return

    def _enter(self, wanted: str) -> None:
        """Go to the value of a member."""
        self._expect("{")
        for name in self._names():
            if name == wanted:
                return
            self._value()
        raise ValueError(f"no member {wanted!r}")

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = _SCAN(self._text, self._at)
            except json.JSONDecodeError:
                if self._is_whole:
                    raise
            else:
                # a number that ends with the text may go on
                if end < len(self._text) or self._is_whole:
                    self._at = end
                    return value
            self._fill(max(_CHUNK, len(self._text) - self._at))

    def _peek(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if self._is_whole:
                return ""
            self._fill(_CHUNK)

    def _next(self, expected: str) -> str:
        found = self._peek()
        if not found or found not in expected:
            raise ValueError(f"expected one of {expected!r}, got {found or 'the end'!r}")
        self._at += 1
        return found

    def _expect(self, mark: str) -> None:
        self._next(mark)

    def _fill(self, count: int) -> None:
        content = self._file.read(count)
        self._is_whole = not content
        self._text = self._text[self._at :] + self._decode.decode(content, final=self._is_whole)
        self._at = 0
