"""Asking an endpoint: each question once, within the budget and the limits, tried again where that can help."""

import asyncio
import hashlib
import time
from typing import NamedTuple

from unirouter_torch.errors import EndpointError
from unirouter_torch.measurement.budget import Budget
from unirouter_torch.measurement.endpoint import Client, Endpoint
from unirouter_torch.measurement.journal import Journal
from unirouter_torch.measurement.pace import Pace, RateLimiter, wait_before_retry
from unirouter_torch.measurement.reply import CallError, Reply

FRUITLESS_PROMPTS = 10
"""So many prompts given up after all new tries, and not one answered, or so many refused in a row: the endpoint itself,
or what it is asked, is at fault."""


class UnansweredError(Exception):
    """A prompt that stays without an answer, with the reason."""


class Answer(NamedTuple):
    """An answer and what it took.

    Attributes:
        text: The answer.
        finish_reason: Why it ended: ``stop``, ``length``, ``content_filter``.
        prompt_tokens: Tokens billed for the prompt; None where not reported.
        answer_tokens: Tokens billed for the answer; None where not reported.
        dollars: What the call cost [US dollars]; the most that it can have cost where no tokens were reported.
        seconds: How long the call took; None in journals of before that was measured.
    """

    text: str
    finish_reason: str
    prompt_tokens: int | None
    answer_tokens: int | None
    dollars: float
    seconds: float | None = None


class Asker:
    """Asks one endpoint.

    Args:
        endpoint: Where and on what terms.
        client: Makes a call once.
        journal: Keeps answers and dollars.
        budget: What may be spent; several askers can share one.
        pace: How fast to ask, and how often again.
    """

    def __init__(self, endpoint: Endpoint, client: Client, journal: Journal, budget: Budget, pace: Pace) -> None:
        self._endpoint = endpoint
        self._client = client
        self._journal = journal
        self._budget = budget
        self._pace = pace
        self._limiter = RateLimiter(pace)
        self._given_up = 0
        self._refused_in_a_row = 0
        self._has_answer = False

    async def ask(self, purpose: str, message: str) -> Answer:
        """The answer to a message: the one in the journal, else a new one, which is in the journal before it counts.

        Args:
            purpose: What the answer is for; one message has one answer for each purpose.
            message: What to send.

        Raises:
            UnansweredError: There is none, after all new tries.
            BudgetSpentError: The budget does not cover the worst case of another call.
            EndpointError: No call can succeed, the first 10 prompts stay without an answer, 10 in a row are refused, or
                one took more than the worst case.
        """
        key = f"{purpose} {hashlib.sha256(f'{self._endpoint.settings} {message}'.encode()).hexdigest()[:16]}"
        kept = self._journal.find(key)
        if kept is not None:
            return Answer(**kept)
        reason = ""
        for attempt in range(self._pace.retries + 1):
            try:
                return await self._try_once(key, message)
            except CallError as error:
                reason = error.reason
                if not error.can_retry:
                    self._count_refusal(error)
                    break
                if attempt < self._pace.retries:
                    await self._back_off(attempt, error.retry_after)
        else:
            self._give_up(reason)
        raise UnansweredError(reason)

    def _give_up(self, reason: str) -> None:
        self._given_up += 1
        if self._given_up >= FRUITLESS_PROMPTS and not self._has_answer:
            raise EndpointError(
                f"{self._endpoint.base_url}: none of the first {self._given_up} prompts was answered ({reason}). Check "
                "base_url and whether the endpoint is up, then give the same command again."
            )

    def _count_refusal(self, error: CallError) -> None:
        """A prompt may be refused by itself, as by a moderation; many in a row mean that all are.

        Raises:
            EndpointError: 10 were refused, and none answered in between.
        """
        self._refused_in_a_row += error.is_refusal
        if self._refused_in_a_row >= FRUITLESS_PROMPTS:
            raise EndpointError(
                f"{self._endpoint.base_url}: {self._refused_in_a_row} prompts in a row were refused, the last one as "
                f"{error.reason!r}. Check the account, the model and its extra fields, then go on: what was "
                "answered is kept."
            )

    async def _back_off(self, attempt: int, retry_after: float) -> None:
        if retry_after > 0:
            self._limiter.pause(retry_after)
        await asyncio.sleep(wait_before_retry(attempt, self._pace.backoff_seconds, retry_after))

    async def _try_once(self, key: str, message: str) -> Answer:
        tokens, dollars = self._endpoint.worst_case(message)
        await self._budget.reserve(dollars)
        paid = dollars
        try:
            sent = await self._limiter.enter(tokens)
            call = self._journal.send(dollars)
            start = time.monotonic()
            try:
                reply = await self._client.ask(message)
            except (CallError, EndpointError) as error:
                paid = dollars if isinstance(error, CallError) and error.may_be_paid else 0.0
                self._journal.settle(call, paid, str(error))
                raise
            self._has_answer = True
            self._refused_in_a_row = 0
            answer = self._priced(reply, dollars)._replace(seconds=time.monotonic() - start)
            paid = answer.dollars
            self._journal.keep(call, paid, key, answer._asdict())
            if answer.prompt_tokens is not None and answer.answer_tokens is not None:
                sent.tokens = answer.prompt_tokens + answer.answer_tokens
        finally:
            self._budget.settle(dollars, paid)
        if paid > dollars:
            raise EndpointError(
                f"{self._endpoint.base_url}: a call took {reply.prompt_tokens} tokens for the prompt and "
                f"{reply.answer_tokens} for the answer, more than its worst case; the endpoint does not keep to "
                f"max_tokens {self._endpoint.max_tokens}, so no budget can be kept. The answer is in the journal."
            )
        return answer

    def _priced(self, reply: Reply, worst: float) -> Answer:
        if reply.prompt_tokens is None or reply.answer_tokens is None:
            return Answer(*reply, worst)
        return Answer(*reply, self._endpoint.prices.dollars(reply.prompt_tokens, reply.answer_tokens))
