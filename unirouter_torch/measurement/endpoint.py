"""One call to an OpenAI-compatible endpoint, and what became of it. The only home of ``openai``."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, NamedTuple

import httpx2
import openai

from unirouter_torch.config.checks import at_least
from unirouter_torch.errors import ConfigError, EndpointError
from unirouter_torch.measurement.budget import Prices, prompt_token_bound

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the API key, the one that the client reads by itself."""

JUDGE_KEY_VARIABLE = "UNIROUTER_JUDGE_API_KEY"
"""Environment variable with the API key of a judge on another endpoint."""

OURS = ("messages", "model", "max_tokens", "max_completion_tokens", "n", "stream")
"""Fields of a request that decide what is asked and what it can cost."""

LONGEST_PAUSE_SECONDS = 300.0
"""An endpoint that asks for a longer pause is not waited for."""

NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


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
        at_least("--max-tokens", self.max_tokens, 1)
        taken = [name for name in self.extra if name in OURS]
        if taken:
            raise ConfigError(f"--extra: got the field {taken[0]!r}, which decides what a call can cost. Leave it out.")

    @property
    def settings(self) -> str:
        """What an answer depends on besides the message, as JSON; the address and the prices are not among it."""
        facts = asdict(self)
        return json.dumps({name: facts[name] for name in ("model", "max_tokens", "extra")}, sort_keys=True)

    def worst_case(self, message: str) -> tuple[int, float]:
        """Most tokens, and most US dollars, that one call with the message can take."""
        bound = prompt_token_bound(message)
        return bound + self.max_tokens, self.prices.dollars(bound, self.max_tokens)


class Reply(NamedTuple):
    """An answer of an endpoint.

    Attributes:
        text: The answer; empty where the LLM used all its tokens before it began, or refused.
        finish_reason: Why it ended: ``stop``, ``length``, ``content_filter``.
        prompt_tokens: Tokens billed for the prompt; None where not reported.
        answer_tokens: Tokens billed for the answer; None where not reported.
    """

    text: str
    finish_reason: str
    prompt_tokens: int | None
    answer_tokens: int | None


class CallError(Exception):
    """A call without an answer.

    Args:
        reason: What happened, in a few words.
        can_retry: Whether the same call may succeed later.
        may_be_paid: Whether it may have been billed all the same.
        retry_after: How long the endpoint asked to wait [seconds].
    """

    def __init__(
        self, reason: str, *, can_retry: bool = True, may_be_paid: bool = False, retry_after: float = 0.0
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.can_retry = can_retry
        self.may_be_paid = may_be_paid
        self.retry_after = retry_after


class Client:
    """The client of one endpoint; it makes each call once, whoever holds it tries again.

    Args:
        endpoint: Where and on what terms.
        timeout_seconds: Longest that a call may take, from the first byte sent to the last one read.
        api_key: The key; that of ``OPENAI_API_KEY`` when not given.

    Raises:
        EndpointError: There is no key.
    """

    def __init__(self, endpoint: Endpoint, timeout_seconds: float, api_key: str | None = None) -> None:
        key = api_key or os.environ.get(KEY_VARIABLE)
        if not key:
            raise EndpointError(
                f"{KEY_VARIABLE}: not set; the client reads the API key from there. Set it, to any text for an "
                "endpoint that asks for no key."
            )
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
                return _read_reply(await self._post(message))
        except (TimeoutError, openai.APITimeoutError):
            raise CallError("timed out", may_be_paid=True) from None
        except openai.APIConnectionError as error:
            was_sent = not isinstance(error.__cause__, NEVER_SENT)
            raise CallError("connection lost" if was_sent else "no connection", may_be_paid=was_sent) from None
        except openai.APIStatusError as error:
            raise self._judged(error) from None

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

    def _judged(self, error: openai.APIStatusError) -> Exception:
        """What an error status means: try again, leave the prompt out, or give up altogether."""
        status, code = error.status_code, error.code or ""
        said = _shortened(error.message.replace(self._client.api_key, "***"))
        if status in (401, 403, 404) or code == "insufficient_quota":
            place = f"{self._endpoint.base_url}, {self._endpoint.model}"
            return EndpointError(
                f"{place}: {said}. Check --base-url, --model, the key in {KEY_VARIABLE} and the account."
            )
        retry_after = _seconds(error.response.headers.get("retry-after"))
        if retry_after > LONGEST_PAUSE_SECONDS:
            return CallError(f"asked to wait {retry_after:.0f} seconds", can_retry=False)
        if status in (408, 409, 429) or status >= 500:
            return CallError(f"status {status}", retry_after=retry_after)
        return CallError("content filter" if "content_filter" in code else f"refused: {said}", can_retry=False)


def _read_reply(body: str) -> Reply:
    """The first choice of a chat completion.

    Raises:
        CallError: The body is no JSON, or holds no choice.
    """
    try:
        found = json.loads(body)
        choice = found["choices"][0]
        text = choice["message"].get("content") or ""
        usage = found.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        is_json = body.lstrip().startswith("{") and _parses(body)
        raise CallError("no choice in the response" if is_json else "broken JSON", may_be_paid=True) from None
    if not isinstance(text, str) or not all(count is None or _is_count(count) for count in counts):
        raise CallError("malformed response", may_be_paid=True)
    return Reply(text, str(choice.get("finish_reason") or ""), counts[0], counts[1])


def _parses(body: str) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _seconds(retry_after: str | None) -> float:
    """The header, a number of seconds or a date, as seconds from now; 0 where it is missing or neither."""
    try:
        return max(0.0, float(retry_after or 0))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(retry_after)).timestamp() - time.time())
    except ValueError:
        return 0.0


def _shortened(message: str) -> str:
    flat = " ".join(message.split()).rstrip(".")
    return flat if len(flat) <= 200 else flat[:197] + "..."
