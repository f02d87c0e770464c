"""Connections of clients, bounded in number and in the time that a request may take to arrive."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10.0
"""How long a connection may take until the head of a request is there."""

BODY_SECONDS = 70.0
"""How long the body of a request may take after its head; longer than until its reader answers 408."""


class _Bounded(H11Protocol):
    """One connection: uvicorn's own protocol, and a clock while its client is to send something."""

    most_connections: int
    waiting: dict["_Bounded", asyncio.TimerHandle]
    """Those of one server that wait for their client, oldest first."""
    awaits: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            oldest = next(iter(self.waiting), self)
            oldest.give_up()
        self.watch()

    def connection_lost(self, error: Exception | None) -> None:
        self.rest()
        super().connection_lost(error)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.watch()

    def watch(self) -> None:
        """Start the clock where the client is to send a head or a body, and stop it where it is not."""
        awaits = self.conn.their_state
        if self.transport.is_closing() or awaits not in (h11.IDLE, h11.SEND_BODY):
            self.rest()
        elif awaits is not self.awaits:
            self.rest()
            seconds = HEAD_SECONDS if awaits is h11.IDLE else BODY_SECONDS
            self.awaits, self.waiting[self] = awaits, self.loop.call_later(seconds, self.give_up)

    def rest(self) -> None:
        """Stop the clock."""
        self.awaits = None
        clock = self.waiting.pop(self, None)
        if clock is not None:
            clock.cancel()

    def give_up(self) -> None:
        """Close the connection; a request that has begun is told to have lost its client."""
        self.rest()
        if not self.transport.is_closing():
            self.transport.abort()


def bounded_protocol(most_connections: int) -> type[asyncio.Protocol]:
    """The protocol of a server that holds up to so many connections.

    Where one more comes, the one that has waited longest for its client is closed; where all are being answered, the
    new one is. So connections that send nothing, or half a request, keep nobody out.

    Args:
        most_connections: At least 1.
    """
    return type("OfOneServer", (_Bounded,), {"most_connections": most_connections, "waiting": {}})
