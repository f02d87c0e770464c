"""What is wrong with an upstream's response, and whom it concerns: the LLM, or the request itself."""

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from unirouter_torch.measurement.retry_after import seconds_to_wait

MOST_JUDGED_BYTES = 2**16
"""A response is held back up to this length to be judged; what is longer is an answer."""

_OF_THE_ACCOUNT = (401, 402, 404, 407)
"""Statuses that are no business of a client: this server's key, account or address is wrong."""

_ANOTHER_MAY_ANSWER = re.compile(
    "|".join(
        (
            r"context.{0,3}(length|window|size)",
            r"maximum.{0,40}(token|length)",
            r"exceed.{0,40}(token|length|limit)",
            r"(prompt|input|request|message).{0,40}too (long|large)",
            r"too many (input |prompt )?tokens",
            r"token limit",
            r"(not|n't) (currently |yet )?(be )?(support|allow|available|enabled)",
            r"unsupported|no support",
            r"(model|deployment|engine).{0,80}((not|n't) (exist|found)|retired|deprecated|decommissioned|unknown)",
            r"api.?key|credit|balance|quota|billing|capacity|overloaded",
        )
    ),
    re.IGNORECASE | re.DOTALL,
)
"""What errors of status 400 and 422 say where another LLM may take the request."""


class Fault(NamedTuple):
    """Why another LLM is asked.

    Attributes:
        reason: What happened, in a few words of a small vocabulary.
        said: What the upstream said, shortened; empty where that is no error message.
        is_of_llm: Whether it speaks against the LLM, and not only against this request with it.
        is_for_client: Whether a client gets the response as it is where nobody else answers.
        pause: How long the upstream asks to be left alone [seconds].
    """

    reason: str
    said: str = ""
    is_of_llm: bool = True
    is_for_client: bool = False
    pause: float = 0.0


def is_judged(status: int, headers: Mapping[str, str], start: bytes) -> bool:
    """Whether the first bytes of a response are enough for :func:`find_fault`; its end always is."""
    if len(start) >= MOST_JUDGED_BYTES:
        return True
    return status < 300 and _is_stream(headers) and _first_event(start) is not None


def find_fault(status: int, headers: Mapping[str, str], start: bytes, *, is_whole: bool) -> Fault | None:
    """What is wrong with a response; None where the client shall have it.

    Args:
        status: Its status.
        headers: Its headers, the names in lower case.
        start: Its first bytes, as they came.
        is_whole: Whether they are all.
    """
    text = _decoded(headers, start)
    if 300 <= status < 400:
        return Fault(f"redirect, status {status}")
    if status >= 400:
        return _fault_of_error(status, headers, text)
    if not text.strip():
        return Fault("empty body")
    if "html" in headers.get("content-type", "") or text.lstrip()[:1] == b"<":
        return Fault("HTML")
    if _is_stream(headers):
        event = _first_event(text)
        return Fault("no event in the stream") if event is None and is_whole else _fault_of_event(event or b"")
    return _fault_of_answer(text) if is_whole else None


def _fault_of_error(status: int, headers: Mapping[str, str], text: bytes) -> Fault | None:
    found = _parsed(text)
    said = _message(found)
    if status in (400, 422):
        if not _ANOTHER_MAY_ANSWER.search(f"{said} {_code(found)}"):
            return None
        return Fault(f"status {status}, not with this LLM", said, is_of_llm=False, is_for_client=True)
    return Fault(
        f"status {status}",
        said,
        is_of_llm=status != 413,
        is_for_client=isinstance(found, dict) and status not in _OF_THE_ACCOUNT,
        pause=seconds_to_wait(headers.get("retry-after")) if status in (429, 503) else 0.0,
    )


def _fault_of_answer(text: bytes) -> Fault | None:
    found = _parsed(text)
    if not isinstance(found, dict):
        return Fault("broken JSON")
    choices = found.get("choices")
    if isinstance(choices, list) and choices:
        first = choices[0]
        is_error = isinstance(first, dict) and bool(first.get("error"))
        return Fault("error in an answer of status 200", _message(first)) if is_error else None
    if found.get("object") == "response" and not found.get("error"):  # answers of the Responses API have no choices
        return None
    is_error = bool(found.get("error")) or found.get("object") == "error"
    return Fault("error in an answer of status 200" if is_error else "no choice in the answer", _message(found))


def _fault_of_event(event: bytes) -> Fault | None:
    lines = event.splitlines()
    found = _parsed(b"\n".join(line[5:] for line in lines if line.startswith(b"data:")))
    named = any(line.replace(b" ", b"") == b"event:error" for line in lines)
    if named or (isinstance(found, dict) and found.get("error") and not found.get("choices")):
        return Fault("error in an answer of status 200", _message(found))
    return None


def _is_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/event-stream")


def _first_event(start: bytes) -> bytes | None:
    """The first event with data that is there as a whole; comments keep a connection alive and say nothing."""
    events = re.split(rb"\r?\n\r?\n", start)[:-1]
    return next((event for event in events if re.search(rb"^(data|event):", event, re.MULTILINE)), None)


def _decoded(headers: Mapping[str, str], start: bytes) -> bytes:
    if headers.get("content-encoding", "") != "gzip":
        return start
    try:
        return zlib.decompressobj(wbits=31).decompress(start, MOST_JUDGED_BYTES)
    except zlib.error:
        return b""


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _error_of(found: Any) -> Any:
    return found.get("error") or found if isinstance(found, dict) else found


def _message(found: Any) -> str:
    error = _error_of(found)
    said = error.get("message", error.get("detail", "")) if isinstance(error, dict) else error
    flat = " ".join(str(said or "").split())
    return flat if len(flat) <= 200 else f"{flat[:197]}..."


def _code(found: Any) -> str:
    error = _error_of(found)
    words = [str(error.get(name) or "")[:100] for name in ("code", "type")] if isinstance(error, dict) else []
    return " ".join(words).replace("_", " ")
