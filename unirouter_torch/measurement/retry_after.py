"""How long an endpoint asks to wait."""

import time
from email.utils import parsedate_to_datetime


def seconds_to_wait(retry_after: str | None) -> float:
    """The header ``Retry-After``, a number of seconds or a date, as seconds from now.

    Args:
        retry_after: Its value; None where it is missing.

    Returns:
        A finite number of at least 0; 0 where the header is missing or neither of both.
    """
    try:
        seconds = float(retry_after or 0)
    except ValueError:
        pass
    else:
        return seconds if 0 <= seconds < float("inf") else 0.0
    try:
        return max(0.0, parsedate_to_datetime(str(retry_after)).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0
