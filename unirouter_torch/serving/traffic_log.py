"""What a server is asked and tells, as JSON Lines on this machine: the next training reads them as a log."""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unirouter_torch.errors import ConfigError
from unirouter_torch.plugins import load_plugin

_log = logging.getLogger(__name__)

GROUP = "unirouter_torch.redactions"
MOST_BYTES = 2**26
"""Length of a file after which the next one is begun."""


class TrafficLog:
    """Appends rows to files of a folder that only their owner can read; each server process has its own files.

    ``event`` says whether a row is a ``route``, an ``answer`` or ``feedback``. Rows of feedback have a score, so that
    logs are read with them and without the others.

    Args:
        folder: Where files go; made where missing.
        redact: What becomes of each prompt before it is written; it stays as it is where not given.
        most_bytes: Length of a file after which the next one is begun.

    Raises:
        ConfigError: The folder cannot be written to.
    """

    def __init__(
        self, folder: Path, redact: Callable[[str], str] | None = None, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._folder, self._redact, self._most_bytes = folder, redact, most_bytes
        self._number = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._path = self._next_path()
        except OSError as error:
            raise ConfigError(f"log_to: {folder} cannot be written to ({error.strerror}). Choose another.") from None

    def write(self, event: str, prompt: str, **facts: Any) -> None:
        """Append a row of JSON values. One that cannot be written is lost, which the server's own log says."""
        text = prompt if self._redact is None else self._redact(prompt)
        row = json.dumps({"event": event, "time": time.time(), "prompt": text, **facts}, ensure_ascii=False)
        try:
            with self._path.open("ab") as file:
                file.write(row.encode("utf-8", "replace") + b"\n")
                is_long = file.tell() >= self._most_bytes
            if is_long:
                self._path = self._next_path()
        except OSError as error:  # as of a full disk; clients are answered all the same
            _log.error("log_to: a row was lost: %s", error)

    def _next_path(self) -> Path:
        """A new, empty file that only its owner can read."""
        while True:
            self._number += 1
            moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
            path = self._folder / f"{moment}-{os.getpid()}-{self._number}.jsonl"
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except FileExistsError:
                continue
            return path


def hashed(prompt: str) -> str:
    """SHA-256 of a prompt: equal prompts stay equal, and no text is kept."""
    return hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()


def open_traffic_log(folder: Path | None, redaction: str | None) -> TrafficLog | None:
    """The log that the settings ask for.

    Args:
        folder: Where it goes; None for no log.
        redaction: ``hash``, ``package.module:function`` or an entry point of ``unirouter_torch.redactions``: from a
            prompt to what is written of it.

    Raises:
        ConfigError: There is no such function, or the folder cannot be written to.
    """
    if folder is None:
        return None
    if redaction is None:
        return TrafficLog(folder)
    found = hashed if redaction == "hash" else load_plugin(redaction, group=GROUP, setting="redact", built_in=["hash"])
    if not callable(found):
        raise ConfigError(f"redact: {redaction!r} is {found!r}, expected a function from a prompt to a text.")
    return TrafficLog(folder, found)
