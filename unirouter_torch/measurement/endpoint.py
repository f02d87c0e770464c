"""One call to an OpenAI-compatible endpoint, and what became of it. The only home of ``openai``."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx2
import openai

from unirouter_torch.config.checks import at_least
from unirouter_torch.errors import ConfigError, EndpointError
from unirouter_torch.measurement.budget import Prices, prompt_token_bound
from unirouter_torch.measurement.reply import CallError, Reply, judged_status, read_reply
from unirouter_torch.measurement.retry_after import seconds_to_wait
from unirouter_torch.messages import whole_characters

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the API key, the one that the client reads by itself."""

JUDGE_KEY_VARIABLE = "UNIROUTER_JUDGE_API_KEY"
"""Environment variable with the API key of a judge on another endpoint."""

OURS = ("messages", "model", "max_tokens", "max_completion_tokens", "n", "stream")
"""Fields of a request that decide what is asked and what it can cost."""

SHORTEST_SECRET = 8
"""A shorter key is a stand-in for endpoints that ask for none, and may be a part of any word."""

LONGEST_PAUSE_SECONDS = 300.0
"""An endpoint that asks for a longer pause is not waited for."""

NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
    UnicodeError,
)
"""Failures of requests that never left, which cost nothing."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where an LLM is asked, and on what terms."""

    base_url: str
    """Address of the API, for example ``http://127.0.0.1:8000/v1``."""
    model: str
    """Name of the LLM there."""
    prices: Prices
    """What it costs."""
    max_tokens: int = 1024
    """Most tokens of an answer, hidden reasoning included, at least 1."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """More fields of the request, for example ``{"temperature": 0}``."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        at_least("max_tokens", self.max_tokens, 1)
        _check_address(self.base_url)
        taken = [name for name in self.extra if name in OURS]
        if taken:
            raise ConfigError(f"extra: got the field {taken[0]!r}, which decides what a call can cost. Leave it out.")

    @property
    def settings(self) -> str:
        """What an answer depends on besides the message, as JSON; the address and the prices are not among it."""
        facts = asdict(self)
        return json.dumps({name: facts[name] for name in ("model", "max_tokens", "extra")}, sort_keys=True)

    def worst_case(self, message: str) -> tuple[int, float]:
        """Most tokens, and most US dollars, that one call with the message can take."""
        bound = prompt_token_bound(message)
        return bound + self.max_tokens, self.prices.dollars(bound, self.max_tokens)


def _check_address(base_url: str) -> None:
    """Refuse an address to which no request can be sent.

    Raises:
        ConfigError: It has no scheme or host, or has white space.
    """
    try:
        parts = urlsplit(base_url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or any(sign.isspace() for sign in base_url):
        raise ConfigError(f"base_url: got {base_url!r}, expected an address such as http://127.0.0.1:8000/v1.")


def usable_key(variable: str, key: str | None) -> str:
    """An API key without white space around it.

    Args:
        variable: The environment variable that it is from, for messages.
        key: What the variable holds.

    Raises:
        EndpointError: There is none, or it has a character that no request can carry.
    """
    stripped = (key or "").strip()
    if not stripped:
        raise EndpointError(
            f"{variable}: not set; the client reads the API key from there. Set it, to any text for an endpoint that "
            "asks for no key."
        )
    bad = [(place, sign) for place, sign in enumerate(stripped, start=1) if not "!" <= sign <= "~"]
    if bad:
        place, sign = bad[0]
        raise EndpointError(
            f"{variable}: character {place} of the key is U+{ord(sign):04X}, expected letters, digits and signs of "
            "ASCII without white space. Copy the key again."
        )
    return stripped


class Client:
    """The client of one endpoint; it makes each call once, its owner tries again.

    Args:
        endpoint: Where and on what terms.
        timeout_seconds: Longest that a call may take, from the first byte sent to the last one read.
        api_key: The key; that of ``OPENAI_API_KEY`` when not given.

    Raises:
        EndpointError: There is no key, or it cannot be sent.
    """

    def __init__(self, endpoint: Endpoint, timeout_seconds: float, api_key: str | None = None) -> None:
        key = api_key or usable_key(KEY_VARIABLE, os.environ.get(KEY_VARIABLE))
        self._endpoint = endpoint
        self._timeout_seconds = timeout_seconds
        self._limit_name = "max_tokens"
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=endpoint.base_url, max_retries=0, timeout=timeout_seconds
        )

    async def __aenter__(self) -> "Client":
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close its connections."""
        await self._client.close()

    async def ask(self, message: str) -> Reply:
        """Send one message and wait for the answer.

        Raises:
            CallError: There is no answer.
            EndpointError: No call can succeed: the key, the address or the name of the LLM is wrong, or the account is
                empty.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return read_reply(await self._post(whole_characters(message)))
        except (TimeoutError, openai.APITimeoutError):
            raise CallError("timed out", may_be_paid=True) from None
        except openai.APIConnectionError as error:
            was_sent = not isinstance(error.__cause__, NEVER_SENT)
            raise CallError("connection lost" if was_sent else "no connection", may_be_paid=was_sent) from None
        except openai.APIStatusError as error:
            raise self._passed_on(self._judged(error)) from None
        except CallError as error:
            raise self._passed_on(error) from None

    async def _post(self, message: str) -> str:
        """The body of the response; some endpoints know the limit of an answer by its newer name alone."""
        try:
            return await self._send(message)
        except openai.BadRequestError as error:
            if self._limit_name == "max_completion_tokens" or "max_completion_tokens" not in str(error):
                raise
        self._limit_name = "max_completion_tokens"
        return await self._send(message)

    async def _send(self, message: str) -> str:
        response = await self._client.chat.completions.with_raw_response.create(
            model=self._endpoint.model,
            messages=[{"role": "user", "content": message}],
            extra_body={self._limit_name: self._endpoint.max_tokens, **self._endpoint.extra},
        )
        return response.http_response.text

    def _judged(self, error: openai.APIStatusError) -> CallError:
        retry_after = seconds_to_wait(error.response.headers.get("retry-after"))
        if retry_after > LONGEST_PAUSE_SECONDS:
            return CallError(f"asked to wait {retry_after:.0f} seconds", can_retry=False)
        return judged_status(error.status_code, error.body or error.message, retry_after)

    def _passed_on(self, error: CallError) -> Exception:
        """The error without the key, which some endpoints repeat; one of the account as what ends the run."""
        if len(self._client.api_key) >= SHORTEST_SECRET:
            error.reason = error.reason.replace(self._client.api_key, "***")
        error.args = (error.reason,)
        if not error.is_account:
            return error
        place = f"{self._endpoint.base_url}, {self._endpoint.model}"
        return EndpointError(
            f"{place}: {error.reason}. Check base_url, the model, the key in {KEY_VARIABLE} and the account, then give "
            "the same command again: what was answered is kept."
        )
