"""What was sent, what it cost and what came back, on disk before it counts."""

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from unirouter_torch.errors import JournalError

Entry = dict[str, Any]


class Journal:
    """A file with one JSON object a line, to which every call adds one when it is sent and one when it has ended.

    Each line is on disk (``fsync``) before the call goes on. So after a kill the same command finds every answer that
    was paid for, and counts what was on its way at its worst case. Only one process at a time can open it.

    Args:
        path: The file; it and its folder are made where missing.

    Raises:
        JournalError: Another process has it open, or a line is damaged. A last line that a kill cut off is dropped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        self._take_lock()
        try:
            self._file = path.open("a+b")
        except BaseException:
            self._lock.release()
            raise
        try:
            self._dollars: dict[int, float] = {}
            self._answers: dict[str, Entry] = {}
            self._read()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> "Journal":
        """The journal itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close the file, so that another process can open it."""
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._lock.release()

    @property
    def dollars(self) -> float:
        """What all calls cost [US dollars]; one that never ended counts with the most that it can have cost."""
        return sum(self._dollars.values(), 0.0)

    def find(self, key: str) -> Entry | None:
        """The answer to a question, if there was one."""
        return self._answers.get(key)

    def send(self, dollars: float) -> int:
        """A call is about to be sent that can cost so many dollars; returns its number."""
        call = max(self._dollars, default=-1) + 1
        self._append({"call": call, "dollars": dollars})
        return call

    def settle(self, call: int, dollars: float, reason: str) -> None:
        """A call has ended without an answer, for that reason."""
        self._append({"call": call, "dollars": dollars, "failed": reason})

    def keep(self, call: int, dollars: float, key: str, answer: Entry) -> None:
        """A call has ended with the answer to a question."""
        self._append({"call": call, "dollars": dollars, "key": key, "answer": answer})

    def _append(self, entry: Entry) -> None:
        # in ASCII, as half an emoji, which some answers hold, has no UTF-8
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._take(entry)

    def _take(self, entry: Entry) -> None:
        self._dollars[entry["call"]] = entry["dollars"]
        if "key" in entry:
            self._answers[entry["key"]] = entry["answer"]

    def _take_lock(self) -> None:
        try:
            self._lock.acquire()
        except Timeout:
            raise JournalError(
                f"{self.path}: another process has this journal open. Wait for it, or choose another journal."
            ) from None

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError):
                raise JournalError(
                    f"{self.path}, line {number}: expected an entry of a calibration journal, got {line[:40]!r}. "
                    "Choose another journal, or remove the line."
                ) from None
