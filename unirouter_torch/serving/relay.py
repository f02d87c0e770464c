"""A chat request on its way to an LLM, and the answer on its way back, byte for byte."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unirouter_torch.serving.chat import ChatRequest
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.refusals import RefusedError
from unirouter_torch.serving.upstreams import Upstream

LLM_HEADER = "x-unirouter-llm"
"""Header of a response with the name of the LLM that gave it, percent-encoded."""

CONNECT_SECONDS = 5.0
"""Longest wait for a connection to an upstream."""

_NOT_PASSED_ON = {
    LLM_HEADER.encode(),  # an upstream may be a router too
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer"),
    *(b"transfer-encoding", b"upgrade", b"server", b"date", b"set-cookie"),
}
_SENT_ON = ("content-type", "accept", "accept-encoding")

_log = logging.getLogger(__name__)

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Result]) -> Result:
    """Do some work for a client whose request has been read; it is cancelled as soon as the client is gone.

    Raises:
        ClientGoneError: It is.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Relay:
    """Asks LLMs over their upstreams.

    Args:
        metrics: Where failures and times are counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        self._client = httpx2.AsyncClient(limits=limits, trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def ask(
        self, llms: Sequence[str], upstreams: Mapping[str, Upstream], request: ChatRequest, headers: Mapping[str, str]
    ) -> "RelayedResponse":
        """The answer of the first LLM that gives one.

        An LLM fails when it cannot be reached, is silent for too long, or answers with status 429 or 5xx; all of that
        before its first byte. The failure of the last one, if it has a status, is what the client gets.

        Args:
            llms: Whom to ask, in order, at least one.
            upstreams: Where each of them is asked.
            request: What to ask.
            headers: Those of the client.

        Raises:
            RefusedError: The last one did not answer at all.
        """
        failures: list[str] = []
        for llm in llms:
            is_last = len(failures) + 1 == len(llms)
            try:
                answer = await self._send(llm, upstreams[llm], request, headers)
            except httpx2.HTTPError as error:
                reason = _reason(error)
            else:
                reason = f"status {answer.status_code}" if answer.has_failed else ""
                if not reason or is_last:
                    self._count(llm, reason, is_fallback=bool(failures))
                    return answer
                await answer.close()
            self._count(llm, reason, is_fallback=False)
            failures.append(f"{llm}: {reason}")
        raise RefusedError(502, f"No LLM answered ({'; '.join(failures)}). Try again.", code="upstream_failed")

    def _count(self, llm: str, reason: str, *, is_fallback: bool) -> None:
        if reason:
            _log.warning("%s: %s", llm, reason)
            self._metrics.upstream_errors.labels(llm, reason).inc()
        elif is_fallback:
            self._metrics.fallbacks.labels(llm).inc()

    async def _send(
        self, llm: str, upstream: Upstream, request: ChatRequest, headers: Mapping[str, str]
    ) -> "RelayedResponse":
        own = {name: headers[name] for name in _SENT_ON if name in headers}
        own.setdefault("accept-encoding", "identity")
        if upstream.api_key:
            own["authorization"] = f"Bearer {upstream.api_key}"
        start = time.monotonic()
        response = await self._client.send(
            self._client.build_request(
                "POST",
                f"{upstream.base_url}/chat/completions",
                content=request.body_for(upstream.model),
                headers=own,
                timeout=httpx2.Timeout(upstream.timeout, connect=min(CONNECT_SECONDS, upstream.timeout)),
            ),
            stream=True,
        )
        chunks = response.aiter_raw()
        try:
            first = await anext(chunks, b"")
        except BaseException:
            await response.aclose()
            raise
        self._metrics.stage.labels("upstream").observe(time.monotonic() - start)
        return RelayedResponse(llm, response, first, chunks, self._metrics)


def _reason(error: httpx2.HTTPError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "timed out"
    return "no connection" if isinstance(error, httpx2.ConnectError) else "connection lost"


class RelayedResponse(Response):
    """The response of an upstream as it is: status, headers but for those of its connection, and raw bytes.

    Where the upstream breaks off, so does the connection of the client: nothing marks half an answer as a whole one.
    """

    def __init__(
        self, llm: str, response: httpx2.Response, first: bytes, rest: AsyncIterator[bytes], metrics: Metrics
    ) -> None:
        super().__init__(status_code=response.status_code)
        self._llm = llm
        self._response = response
        self._first = first
        self._rest = rest
        self._metrics = metrics
        kept = [(name.lower(), value) for name, value in response.headers.raw]
        self.raw_headers = [(name, value) for name, value in kept if name not in _NOT_PASSED_ON]
        self.raw_headers.append((LLM_HEADER.encode(), quote(llm, safe="/:@+,").encode()))

    @property
    def has_failed(self) -> bool:
        """Whether another LLM should be asked."""
        return self.status_code == 429 or self.status_code >= 500

    async def close(self) -> None:
        """Close the connection to the upstream, if it is not done."""
        await self._response.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the response on while the client is there."""
        try:
            with contextlib.suppress(ClientGoneError):
                await unless_gone(receive, self._pass_on(send))
        finally:
            await self.close()

    async def _pass_on(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        try:
            async for chunk in self._rest:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except httpx2.HTTPError as error:
            _log.warning("%s: %s in the middle of an answer", self._llm, _reason(error))
            self._metrics.upstream_errors.labels(self._llm, "broke off").inc()
            return  # without the end of the body, so that the server cuts the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})
