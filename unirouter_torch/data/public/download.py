"""Fetching the published files of a public table."""

import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from unirouter_torch.data.public.source import HubFiles, PublicTable, WebFiles
from unirouter_torch.errors import DataError
from unirouter_torch.progress import progress
from unirouter_torch.storage import sha256_of_file

_TIMEOUT = 60
"""Seconds without an answer after which a download outside the hub ends."""
_CHUNK = 10**6


def download(table: PublicTable, revision: str | None) -> tuple[Path, dict[str, Any]]:
    """Download the files of a table into the user's cache of the Hugging Face hub; files that lie there are kept.

    Args:
        table: What to fetch.
        revision: Commit, tag or branch in place of the pinned one.

    Returns:
        The folder with the files, and where they came from as JSON values, with the commit that was found.

    Raises:
        DataError: A file is out of reach, or differs from its published checksum.
    """
    if isinstance(table.origin, WebFiles):
        return _download_from_web(table, table.origin)
    asked = revision or table.origin.revision
    folder = _download_from_hub(table, table.origin, asked)
    if asked == table.origin.revision:
        for name, expected in table.sha256.items():
            _check(folder / name, expected)
    return folder, {
        "repository": f"https://huggingface.co/datasets/{table.origin.repository}",
        "revision": asked,
        "commit": folder.name,
    }


def _download_from_hub(table: PublicTable, origin: HubFiles, revision: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                origin.repository, repo_type="dataset", revision=revision, allow_patterns=list(table.files)
            )
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{origin.repository}@{revision}: cannot be downloaded ({error}). Check the network and the revision, or "
            f"fetch {', '.join(table.files)} elsewhere and give their folder as from_files."
        ) from error


def _download_from_web(table: PublicTable, origin: WebFiles) -> tuple[Path, dict[str, Any]]:
    from huggingface_hub.constants import HF_HOME

    folder = Path(HF_HOME) / "unirouter_torch" / table.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, address in origin.addresses.items():
        if not (folder / name).exists():
            _fetch(address, folder / name)
    return folder, {"addresses": dict(origin.addresses)}


def _fetch(address: str, file: Path) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as target, urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
            size = int(answer.headers.get("Content-Length", 0)) // _CHUNK or None
            for chunk in progress(iter(lambda: answer.read(_CHUNK), b""), f"{file.name} [MB]", total=size):
                target.write(chunk)
        Path(temporary).replace(file)
    except (urllib.error.URLError, OSError) as error:
        raise DataError(
            f"{address}: cannot be downloaded ({error}). Check the network, or fetch it elsewhere and give its folder "
            "as from_files."
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _check(file: Path, expected: str) -> None:
    found = sha256_of_file(file)
    if found != expected:
        raise DataError(f"{file}: got the SHA-256 {found}, expected {expected} as published. Remove it and try again.")
