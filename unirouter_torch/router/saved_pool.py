"""The pool of a router that lies in a folder: save a change, take over those of others, go back."""

import shutil
from abc import ABC
from collections.abc import Callable, Sequence
from pathlib import Path

from unirouter_torch.errors import PoolConflictError, PoolError
from unirouter_torch.router.pool_history import (
    HISTORY_FOLDER,
    PoolChange,
    PoolRevision,
    latest_number,
    read_revision,
    write_revision,
)
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.storage import raise_format_version

FORMAT_VERSION = 2
"""Version of a router's folder; from 2 on the pool is in revisions."""


class SavedPool:
    """The latest revision that this process knows, and the folder where the next ones go.

    Args:
        folder: A router's folder.
        revision: The pool as it lies there.
    """

    def __init__(self, folder: Path, revision: PoolRevision) -> None:
        self.folder = folder.absolute()
        self.revision = revision

    def write(self, pool: LLMPool, change: PoolChange) -> None:
        """Write the next revision: one small file that appears whole or not at all. Nothing else is written.

        Raises:
            PoolConflictError: Somebody else wrote one since this process read the latest.
        """
        revision = self.revision.followed_by(pool, change)
        if latest_number(self.folder) is None:
            # a reader of version 1 is turned away before there is anything that it would miss
            write_revision(self.folder, self.revision)
            raise_format_version(self.folder, FORMAT_VERSION)
        if not write_revision(self.folder, revision):
            raise self._conflict()
        self.revision = revision

    def reload(self) -> bool:
        """Read the latest revision.

        Returns:
            Whether it is another one than before.

        Raises:
            ArtifactError: It is damaged or belongs to another head. The one before is kept.
        """
        before, latest = self.revision, latest_number(self.folder)
        if latest is not None:
            self.revision = read_revision(self.folder, latest, head=before.head)
        return self.revision.number != before.number

    def undo(self, to: int | None) -> None:
        """Write the pool of an earlier revision as the next one.

        Args:
            to: Number of that revision; the one before the latest change that was not undone when not given.

        Raises:
            PoolError: Nothing is left to undo.
            ArtifactError: There is no such revision, or it is damaged.
            PoolConflictError: Somebody else wrote one since this process read the latest.
        """
        if to is None and self.revision.position == 0:
            raise PoolError("pool: nothing is left to undo; it is as it was when the router was saved.")
        number = self.revision.position - 1 if to is None else to
        target = read_revision(self.folder, number, head=self.revision.head)
        what = f"back to revision {target.position}"
        self.write(target.pool, PoolChange.by_this_user(what, restores=target.position))

    def history(self) -> list[PoolRevision]:
        """All revisions, the first one first.

        Raises:
            ArtifactError: One is damaged.
        """
        latest = latest_number(self.folder)
        return [self.revision] if latest is None else [read_revision(self.folder, n) for n in range(latest + 1)]

    def copy_history(self, target: Path) -> None:
        """Copy all revisions into another folder.

        Raises:
            PoolConflictError: The folder has a later one than this process knows.
        """
        latest = latest_number(self.folder)
        if latest is None:
            write_revision(target, self.revision)
        elif latest != self.revision.number:
            raise self._conflict()
        else:
            shutil.copytree(self.folder / HISTORY_FOLDER, target / HISTORY_FOLDER)

    def check_is_latest(self, folder: Path) -> None:
        """Check, as a folder is replaced, that nobody has changed its pool since this process read it.

        Args:
            folder: Where the old folder is now.

        Raises:
            PoolConflictError: Somebody has.
        """
        if (latest_number(folder) or 0) > self.revision.number:
            raise self._conflict(folder)

    def _conflict(self, folder: Path | None = None) -> PoolConflictError:
        other = read_revision(folder or self.folder, self.revision.number + 1).change
        return PoolConflictError(
            f"{self.folder}: {other.who} changed the pool meanwhile ({other.what}; {other.when}). Nothing was saved: "
            "call reload_pool and make the change again."
        )


class FolderPool(ABC):
    """What holds a pool that may lie in a router's folder: the calls that change it there."""

    pool: LLMPool
    """The LLMs."""
    saved: SavedPool | None = None
    """The pool as it lies in the folder; none before there is one."""

    def save_pool(self, what: str, *, data: Path | Sequence[Path] = ()) -> None:
        """Write the pool as it is now into the router's folder, as the next revision; nothing else is written.

        Args:
            what: What was changed, for the history.
            data: File or folder that the change was made from, or several; the history keeps names and a checksum.

        Raises:
            PoolConflictError: Somebody else changed the pool in the folder since this router read it.
            PoolError: The router lies in no folder, or the pool's target counts a latency that is not known.
        """
        self.pool.check_latency(self.pool.latency_weight)  # here, rather than at every route from now on
        self._in_folder().write(self.pool, PoolChange.by_this_user(what, data=data))

    def change_pool(self, change: Callable[[], None], what: str, *, data: Path | Sequence[Path] = ()) -> None:
        """Make a change of the pool and :meth:`save_pool`; where somebody else was quicker, make it again on theirs.

        Args:
            change: Changes :attr:`pool`; nothing else may be unsaved.
            what: As there.
            data: As there.
        """
        while True:
            change()
            try:
                return self.save_pool(what, data=data)
            except PoolConflictError:
                self.reload_pool()

    def reload_pool(self) -> bool:
        """Take the pool as it lies in the router's folder now; changes that were not saved are dropped.

        Returns:
            Whether the folder holds another revision than before.

        Raises:
            ArtifactError: The latest revision is damaged or belongs to another head. The pool stays as it was.
            PoolError: The router lies in no folder.
        """
        has_changed = self._in_folder().reload()
        self.pool = self._in_folder().revision.pool
        return has_changed

    def undo_pool(self, to: int | None = None) -> None:
        """Bring an earlier pool back, as the next revision in the router's folder; unsaved changes are dropped.

        Args:
            to: Number of the revision to bring back. When not given, the one before the latest change that was not
                undone, so that calls in a row go back step by step.

        Raises:
            PoolError: Nothing is left to undo, or the router lies in no folder.
            ArtifactError: There is no such revision, or it is damaged.
        """
        self.reload_pool()
        self._in_folder().undo(to)
        self.pool = self._in_folder().revision.pool

    def pool_history(self) -> list[PoolRevision]:
        """All revisions of the pool in the router's folder, the first one first; errors as :meth:`reload_pool`."""
        return self._in_folder().history()

    def _in_folder(self) -> SavedPool:
        if self.saved is None:
            raise PoolError("router: it lies in no folder as it is. Call save_pretrained first.")
        return self.saved
