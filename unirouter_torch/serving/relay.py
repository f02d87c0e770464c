"""A chat request on its way to an LLM, and the answer on its way back, byte for byte."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from math import ceil
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from unirouter_torch.serving.breaker import Breaker
from unirouter_torch.serving.chat import ChatRequest
from unirouter_torch.serving.faults import Fault, find_fault, is_judged
from unirouter_torch.serving.http_clients import HttpClients
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
_SENT_ON = ("content-type", "accept")
_TOLD_STATUSES = {403, 408, 413, 429, *range(500, 600)}
"""Statuses of the last LLM that a client learns by this server's own error."""

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
    """Asks LLMs over their upstreams, through the proxies and with the certificates that the environment names.

    Args:
        metrics: Where failures and times are counted.

    Raises:
        ConfigError: The environment names a proxy or certificates that cannot be used.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._breaker = Breaker(metrics)
        self._clients = HttpClients()

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    def in_service(self, llms: Sequence[str]) -> list[str]:
        """The LLMs that are asked now, in the same order: those that keep failing are left out for a while."""
        return self._breaker.in_service(llms)

    async def ask(
        self,
        llms: Sequence[str],
        upstreams: Mapping[str, Upstream],
        request: ChatRequest,
        headers: Mapping[str, str],
        path: str = "chat/completions",
    ) -> "RelayedResponse":
        """The answer of the first LLM that gives one; :mod:`unirouter_torch.serving.faults` says what is none.

        An error of the last one that concerns the client is what the client gets.

        Args:
            llms: Whom to ask, in order, at least one.
            upstreams: Where each of them is asked.
            request: What to ask.
            headers: Those of the client.
            path: Of the endpoint, below the address of an upstream.

        Raises:
            RefusedError: No LLM answered, and the client can do nothing with what the last one said.
        """
        failures: list[str] = []
        answer: RelayedResponse | None
        status, fault = 502, Fault("")
        for llm in llms:
            self._breaker.asked(llm)
            try:
                answer = await self._send(llm, upstreams[llm], path, request, headers)
            except httpx2.HTTPError as error:
                answer, status, fault = None, 502, Fault(_reason(error))
            else:
                if answer.fault is None:
                    self._breaker.answered(llm)
                    if failures:
                        self._metrics.fallbacks.labels(llm).inc()
                    return answer
                status, fault = answer.status_code, answer.fault
            self._count(llm, fault, upstreams[llm].api_key)
            failures.append(f"{llm}: {fault.reason}")
            if answer is not None:
                if fault.is_for_client and len(failures) == len(llms):
                    return answer
                await answer.close()
        raise RefusedError(
            status if status in _TOLD_STATUSES else 502,
            f"No LLM answered ({'; '.join(failures)}). Try again.",
            code="upstream_failed",
            retry_after=ceil(fault.pause) or None,
        )

    def _count(self, llm: str, fault: Fault, key: str) -> None:
        said = fault.said.replace(key, "***") if key else fault.said
        _log.warning("%s: %s%s", llm, fault.reason, f" ({said})" if said else "")
        self._metrics.upstream_errors.labels(llm, fault.reason).inc()
        if fault.is_of_llm:
            self._breaker.failed(llm, fault.pause)

    async def _send(
        self, llm: str, upstream: Upstream, path: str, request: ChatRequest, headers: Mapping[str, str]
    ) -> "RelayedResponse":
        own = {name: headers[name] for name in _SENT_ON if headers.get(name, "").isprintable() and name in headers}
        own = {name: value for name, value in own.items() if value.isascii()}
        # what is judged here must be understood here
        own["accept-encoding"] = "gzip" if "gzip" in headers.get("accept-encoding", "") else "identity"
        if upstream.api_key:
            own["authorization"] = f"Bearer {upstream.api_key}"
        async with contextlib.AsyncExitStack() as call:
            client = self._clients.take(upstream.base_url)
            call.push_async_callback(self._clients.give_back, upstream.base_url, client)
            start = time.monotonic()
            response = await client.send(
                client.build_request(
                    "POST",
                    f"{upstream.base_url}/{path}",
                    content=request.body_for(upstream.model, upstream.extra),
                    headers=own,
                    timeout=httpx2.Timeout(upstream.timeout, connect=min(CONNECT_SECONDS, upstream.timeout)),
                ),
                stream=True,
            )
            call.push_async_callback(response.aclose)
            chunks = response.aiter_raw()
            first, fault = await self._judge(response, chunks)
            self._metrics.stage.labels("upstream").observe(time.monotonic() - start)
            # from here on the response ends the call
            return RelayedResponse(llm, response, first, chunks, self._metrics, fault, call.pop_all().aclose)

    async def _judge(self, response: httpx2.Response, chunks: AsyncIterator[bytes]) -> tuple[bytes, Fault | None]:
        first, is_whole = b"", True
        async for chunk in chunks:
            first += chunk
            if is_judged(response.status_code, response.headers, first):
                is_whole = False
                break
        return first, find_fault(response.status_code, response.headers, first, is_whole=is_whole)


def _reason(error: httpx2.HTTPError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "timed out"
    is_unreachable = isinstance(error, httpx2.ConnectError | httpx2.ProxyError)
    return "no connection" if is_unreachable else "connection lost"


class RelayedResponse(Response):
    """The response of an upstream as it is: status, headers but for those of its connection, and raw bytes.

    Where the upstream breaks off, so does the connection of the client: nothing marks half an answer as a whole one.
    """

    def __init__(
        self,
        llm: str,
        response: httpx2.Response,
        first: bytes,
        rest: AsyncIterator[bytes],
        metrics: Metrics,
        fault: Fault | None,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(status_code=response.status_code)
        self.llm = llm
        self.close = close
        self._first = first
        self._rest = rest
        self._metrics = metrics
        self.fault = fault
        kept = [(name.lower(), value) for name, value in response.headers.raw]
        self.raw_headers = [
            (name, value)
            for name, value in kept
            if name not in _NOT_PASSED_ON and not name.startswith(b"access-control-")
        ]
        self.raw_headers.append((LLM_HEADER.encode(), quote(llm, safe="/:@+,").encode()))

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
            _log.warning("%s: %s in the middle of an answer", self.llm, _reason(error))
            self._metrics.upstream_errors.labels(self.llm, "broke off").inc()
            return  # without the end of the body, so that the server cuts the connection
        await send({"type": "http.response.body", "body": b"", "more_body": False})
