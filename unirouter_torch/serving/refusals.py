"""What a client is told where a request is not served, in the form of OpenAI's errors."""

import reprlib
from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse

from unirouter_torch.errors import UniRouterError

MOST_TOLD_CHARACTERS = 1000
"""A message is cut there: what it repeats of a request may be long."""

CLIENT_GONE = 499
"""Status of a request whose client left before the answer; nobody receives it."""


class RefusedError(UniRouterError):
    """A request that is not served.

    Args:
        status: Status of the response.
        message: What is wrong, and what to do.
        param: The field of the request that it is about.
        code: Word for programs.
        retry_after: When to try again [seconds].
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after

    def response(self) -> JSONResponse:
        """The error as OpenAI writes it; clients of theirs show the message."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        param = None if self.param is None else _shortened(self.param)
        error: dict[str, Any] = {"message": _shortened(str(self)), "type": kind, "param": param, "code": self.code}
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 408:  # the rest of the body may still come, and would be read as a request
            headers["Connection"] = "close"
        return JSONResponse({"error": error}, self.status, headers)


def refused_field(place: Sequence[object], problem: str, got: object = None) -> RefusedError:
    """What is told of a field of a request.

    Args:
        place: Names and positions from the body to the field.
        problem: What is wrong with it, or what was expected.
        got: What it holds; None where it is missing.
    """
    name = ".".join(str(part) for part in place)
    shown = "" if got is None else f", got {reprlib.repr(got)}"
    return RefusedError(400, f"{name}: {problem}{shown}.", param=name)


def _shortened(text: str) -> str:
    # half of a surrogate pair cannot be sent
    told = text if len(text) <= MOST_TOLD_CHARACTERS else f"{text[: MOST_TOLD_CHARACTERS - 3]}..."
    return told.encode(errors="replace").decode()
