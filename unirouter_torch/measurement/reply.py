"""What came back from an endpoint: an answer, or what a failure means."""

import json
import re
from typing import Any, NamedTuple

from unirouter_torch.messages import answer_text, whole_characters

_ACCOUNT_CODES = frozenset(
    (
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "account_deactivated",
        "invalid_api_key",
        "model_not_found",
        "unsupported_country",
        "unsupported_country_region_territory",
        "arrearage",
    )
)
_ACCOUNT = re.compile(
    r"insufficient.{0,20}(?:balance|credit|quota|fund)|credit balance is too low|payment required|arrear"
    r"|account.{0,40}(?:deactivated|suspended|disabled|flagged|overdue)"
    r"|not a valid model|invalid model|unknown model|model.{0,80}(?:does not exist|not exist|not found)",
    re.IGNORECASE,
)
_FILTERED = re.compile(
    r"content[_ ]?filter|content[_ ](?:management )?policy|responsibleaipolicy|moderation|flagged|data_inspection"
    r"|safety (?:system|filter|polic)",
    re.IGNORECASE,
)


class Reply(NamedTuple):
    """An answer of an endpoint.

    Attributes:
        text: The answer; empty where the LLM used all its tokens before it began, or refused.
        finish_reason: Why it ended: ``stop``, ``length``, ``content_filter``.
        prompt_tokens: Tokens billed for the prompt; None where not reported.
        answer_tokens: Tokens billed for the answer, hidden reasoning included; None where not reported.
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
        is_refusal: Whether it was refused for a reason that may hold for all prompts as well as for this one.
        is_account: Whether no call can succeed: the key, the account, the address or the name of the LLM is at fault.
    """

    def __init__(
        self,
        reason: str,
        *,
        can_retry: bool = True,
        may_be_paid: bool = False,
        retry_after: float = 0.0,
        is_refusal: bool = False,
        is_account: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.can_retry = can_retry
        self.may_be_paid = may_be_paid
        self.retry_after = retry_after
        self.is_refusal = is_refusal
        self.is_account = is_account


def judged_status(status: int, error: Any, retry_after: float = 0.0) -> CallError:
    """What an error status means: try again, leave the prompt out, or give up altogether.

    Args:
        status: Of HTTP.
        error: The member ``error`` of the body, or all of it.
        retry_after: How long the endpoint asked to wait [seconds].
    """
    found = error if isinstance(error, dict) else {"message": error}
    code, said = str(found.get("code") or ""), shortened(str(found.get("message") or f"status {status}"))
    kind = str(found.get("type") or "")
    if code in _ACCOUNT_CODES or kind in _ACCOUNT_CODES or status in (401, 402, 404):
        return CallError(said, can_retry=False, is_account=True)
    if status in (400, 403) and _ACCOUNT.search(said):
        return CallError(said, can_retry=False, is_account=True)
    if status in (408, 409, 429) or status >= 500:
        return CallError(f"status {status}", retry_after=retry_after)
    if _FILTERED.search(json.dumps(found, default=str)):
        return CallError("content filter", can_retry=False)
    return CallError(f"refused: {said}", can_retry=False, is_refusal=True)


def read_reply(body: str) -> Reply:
    """The first choice of a chat completion; of a stream that nobody asked for all its pieces.

    Raises:
        CallError: The body is no JSON, holds no choice, or tells of an error.
    """
    if body.lstrip().startswith("<"):
        raise CallError("a web page instead of an answer", can_retry=False, is_refusal=True)
    try:
        found = _joined(body) if body.lstrip().startswith(("data:", "event:", ":")) else json.loads(body)
    except (ValueError, RecursionError, AttributeError):
        raise CallError("broken JSON", may_be_paid=True) from None
    try:
        choice = found["choices"][0]
        content = choice["message"].get("content")
        usage = found.get("usage") or {}
        counts = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise _no_choice(found) from None
    except ValueError:
        raise CallError("malformed response", may_be_paid=True) from None
    if choice.get("error"):
        raise _no_choice({"error": choice["error"]})
    sent, got, total = counts
    if sent is not None and got is not None and total is not None:
        got = max(got, total - sent)  # some count hidden reasoning in the total alone
    return Reply(whole_characters(answer_text(content)), str(choice.get("finish_reason") or ""), sent, got)


def _no_choice(found: Any) -> CallError:
    error = found.get("error") if isinstance(found, dict) else None
    if not error:
        return CallError("no choice in the response", may_be_paid=True)
    code = error.get("code") if isinstance(error, dict) else None
    status = int(code) if isinstance(code, int) or (isinstance(code, str) and code.isdigit()) else 500
    return judged_status(status if 400 <= status < 600 else 500, error)


def _joined(body: str) -> dict[str, Any]:
    """The pieces of a stream as one completion."""
    lines = (line[5:].strip() for line in body.splitlines() if line.startswith("data:"))
    pieces = [json.loads(line) for line in lines if line and line != "[DONE]"]
    choices = [piece["choices"][0] for piece in pieces if piece.get("choices")]
    if not choices:
        return next((piece for piece in pieces if piece.get("error")), {})
    text = "".join(answer_text((choice.get("delta") or {}).get("content")) for choice in choices)
    reasons = [choice["finish_reason"] for choice in choices if choice.get("finish_reason")]
    usages = [piece["usage"] for piece in pieces if piece.get("usage")]
    choice = {"message": {"content": text}, "finish_reason": reasons[-1] if reasons else None}
    return {"choices": [choice], "usage": usages[-1] if usages else None}


def _count(value: object) -> int | None:
    """A number of tokens, also where it is written as 9.0.

    Raises:
        ValueError: It is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise ValueError(value)
    return int(value)


def shortened(message: str) -> str:
    """A message of others in one line of at most 200 characters."""
    flat = " ".join(whole_characters(message).split()).rstrip(".")
    return flat if len(flat) <= 200 else flat[:197] + "..."
