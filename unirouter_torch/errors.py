"""What a user can get wrong, by who has to act.

Every message says what is wrong, where, what was found, what was expected, and the next step. The commands print the
message alone and exit with code 2.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_NUM_NAMED = 5


def first_few(names: Sequence[str]) -> str:
    """The first five of some names for a message, and how many more there are."""
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more} more" if more > 0 else "")


def first_problem(error: "ValidationError") -> str:
    """The first of the problems that pydantic found, for a message: the field, what is wrong, and what it holds."""
    first = error.errors()[0]
    field = ".".join(str(part)[:50] for part in first["loc"]) or "content"
    found = repr(first["input"])
    found = found if len(found) <= 60 else f"{found[:57]}..."
    return f"{field}: {first['msg'].removeprefix('Value error, ')}, got {found}"


class UniRouterError(Exception):
    """A mistake that a user of this package can fix; the parent of all errors below."""


class ConfigError(UniRouterError, ValueError):
    """A setting is out of range or contradicts another; names the dotted key."""


class DataError(UniRouterError, ValueError):
    """A routing table is malformed; names file, column and row."""


class PoolError(UniRouterError, ValueError):
    """A pool of LLMs cannot do what it was asked to do."""


class PoolConflictError(PoolError):
    """Somebody else changed the saved pool meanwhile; nothing is lost, and the change can be made again."""


class ArtifactError(UniRouterError):
    """A saved router or encoder is missing, damaged, or of another format."""


class JournalError(UniRouterError):
    """A calibration journal is damaged or in use."""


class EndpointError(UniRouterError):
    """An endpoint cannot be used: a wrong key, address or name, or answers that break its promises."""


class MeasurementError(UniRouterError):
    """Too little is known of an LLM after its calibration; what was paid for is kept in the journal."""


class TerminatedError(Exception):
    """The process was asked to end (SIGTERM); what it needs to go on is saved.

    Args:
        message: What happened, and what goes on from where.
    """

    def __init__(
        self,
        message: str = "asked to end (SIGTERM); what was finished is kept, the same command goes on from there",
    ) -> None:
        super().__init__(message)
