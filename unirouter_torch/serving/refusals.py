"""What a client is told where a request is not served, in the form of OpenAI's errors."""

from typing import Any

from starlette.responses import JSONResponse

from unirouter_torch.errors import UniRouterError

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
        error: dict[str, Any] = {"message": str(self), "type": kind, "param": self.param, "code": self.code}
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return JSONResponse({"error": error}, self.status, headers)
