"""Bodies of requests, bounded one by one and together."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

MOST_BODY_BYTES = 2**24
"""Longest body of a request."""

MOST_HELD_BYTES = 2**28
"""Length of all bodies that are held at one time; they are held until their requests are answered."""

BODY_SECONDS = 60.0
"""How long the body of a request may take after its head."""


class Bodies:
    """Counts what is held of the bodies of all requests."""

    def __init__(self) -> None:
        self._held = 0

    @contextmanager
    def bounded(self, scope: Scope, receive: Receive) -> Iterator[Receive]:
        """What receives a request, and raises where its body is too long, too slow, or too much is held already.

        The rest of a body that is refused is received and dropped: a client that is still sending would not read the
        refusal. One that asks first (``Expect: 100-continue``) is refused at once.

        Args:
            scope: The request.
            receive: What receives it.
        """
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        is_too_long = length.isdigit() and int(length[:20]) > MOST_BODY_BYTES
        asks_first = headers.get(b"expect", b"").lower() == b"100-continue"
        held, is_whole = 0, False
        until = asyncio.get_running_loop().time() + BODY_SECONDS

        async def receive_in_time() -> Message:
            nonlocal is_whole
            if is_whole:  # what follows is that the client leaves
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise _too_slow() from None
            is_whole = not message.get("more_body")
            return message

        async def receive_bounded() -> Message:
            nonlocal held
            if is_too_long and asks_first:
                raise _too_long()
            message = await receive_in_time()
            size = len(message.get("body", b""))
            held, self._held = held + size, self._held + size
            if not (is_too_long or held > MOST_BODY_BYTES or self._held > MOST_HELD_BYTES):
                return message
            refusal = _too_long() if is_too_long or held > MOST_BODY_BYTES else _too_much()
            held, self._held = 0, self._held - held
            while message.get("more_body"):
                message = await receive_in_time()
            raise refusal

        try:
            yield receive_bounded
        finally:
            self._held -= held


def _too_long() -> HTTPException:
    return HTTPException(413, f"The body is longer than {MOST_BODY_BYTES} bytes. Send less at a time.")


def _too_slow() -> HTTPException:
    return HTTPException(
        408, f"The body was not there after {BODY_SECONDS:g} seconds. Send it again, or less at a time."
    )


def _too_much() -> HTTPException:
    return HTTPException(503, "The server holds too many bytes of requests already. Try again in a second.")
