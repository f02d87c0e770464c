"""What upstreams say, as the providers' documentation has it, and whether another LLM is asked."""

import gzip
import json
from typing import Any

import pytest

from unirouter_torch.serving.faults import MOST_JUDGED_BYTES, Fault, find_fault, is_judged

JSON = {"content-type": "application/json"}
STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def fault_of(status: int, body: Any, headers: dict[str, str] | None = None) -> Fault | None:
    start = body if isinstance(body, bytes) else json.dumps(body).encode()
    return find_fault(status, JSON if headers is None else headers, start, is_whole=True)


def error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405, 408, 409, 413, 429, 498, 500, 502, 503, 504, 529])
def test_failing_status_is_a_fault_whatever_its_body(status: int) -> None:
    for body in (error("made up"), b"<html>Bad gateway</html>", b"", b"{"):
        found = fault_of(status, body)
        assert found is not None and found.reason == f"status {status}"


@pytest.mark.parametrize("status", [301, 302, 303, 304, 307, 308])
def test_redirect_is_a_fault_that_no_client_gets(status: int) -> None:
    found = fault_of(status, b"", {"location": "http://elsewhere.invalid/"})
    assert found is not None and not found.is_for_client


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("This LLM's maximum context length is 4096 tokens, but you asked for 9000.", "context_length_exceeded"),
        ("Too large for it.", "context_length_exceeded"),
        ("prompt is too long: 210000 tokens > 200000 maximum", None),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", None),
        ("Input is too long for requested model.", None),
        ("this model does not support tools", None),
        ("Image input is not supported by this model", None),
        ("Unsupported parameter: 'logprobs'", "unsupported_parameter"),
        ("The model `old` has been deprecated", None),
        ("API key not valid. Please pass a valid API key.", None),
        ("Your credit balance is too low", None),
        ("Something", "model_not_available"),
    ],
)
def test_refusal_that_another_llm_need_not_share_is_a_fault_of_this_request_alone(
    status: int, message: str, code: str | None
) -> None:
    found = fault_of(status, error(message, code))
    assert found is not None and found.is_for_client and not found.is_of_llm
    assert found.reason == f"status {status}, not with this LLM"


@pytest.mark.parametrize(
    "body",
    [
        error("'messages' must contain the word 'json' in some form"),
        error("temperature: expected a number of at most 2"),
        error("The response was filtered", "content_filter"),
        error("Invalid value for 'messages[1].role'"),
        {"detail": [{"loc": ["body", "seed"], "msg": "value is not a valid integer"}]},
        b"Bad Request",
    ],
)
def test_refusal_of_the_request_itself_is_none(body: Any) -> None:
    assert fault_of(400, body) is None and fault_of(422, body) is None


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"", JSON, "empty body"),
        (b"  \n", JSON, "empty body"),
        (b"<!doctype html><p>Log in", JSON, "HTML"),
        (b"Log in", {"content-type": "text/html; charset=utf-8"}, "HTML"),
        (error("overloaded"), JSON, "error in an answer of status 200"),
        ({"error": "overloaded"}, JSON, "error in an answer of status 200"),
        ({"object": "error", "message": "no worker", "code": 50001}, JSON, "error in an answer of status 200"),
        (
            {"choices": [{"error": {"message": "cut"}, "finish_reason": "error"}]},
            JSON,
            "error in an answer of status 200",
        ),
        ({"choices": []}, JSON, "no choice in the answer"),
        ([], JSON, "broken JSON"),
        (b'{"choices": [{"mess', JSON, "broken JSON"),
        (b"data: [", STREAM, "no event in the stream"),
        (b": waiting\n\n", STREAM, "no event in the stream"),
        (b'data: {"error": {"message": "no"}}\n\ndata: [DONE]\n\n', STREAM, "error in an answer of status 200"),
        (b': waiting\r\n\r\nevent: error\r\ndata: {"m": 1}\r\n\r\n', STREAM, "error in an answer of status 200"),
    ],
)
def test_answer_of_status_200_that_is_none_is_a_fault(body: Any, headers: dict[str, str], reason: str) -> None:
    found = fault_of(200, body, headers)
    assert found is not None and (found.reason, found.is_for_client) == (reason, False)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"choices": [{"message": {"content": "<html>"}}]}, JSON),
        ({"choices": [{"message": {"content": ""}}], "error": None}, JSON),
        (b'data: {"choices": [], "prompt_filter_results": []}\n\n', STREAM),
        (b'data: {"choices": [{"delta": {"content": "error"}}]}\n\ndata: {"error": 1}\n\n', STREAM),
    ],
)
def test_answers_are_no_faults(body: Any, headers: dict[str, str]) -> None:
    assert fault_of(200, body, headers) is None


def test_compressed_answer_is_judged_by_its_content() -> None:
    headers = JSON | {"content-encoding": "gzip"}
    assert fault_of(200, gzip.compress(json.dumps({"choices": [{}]}).encode()), headers) is None
    found = fault_of(200, gzip.compress(json.dumps(error("no")).encode()), headers)
    assert found is not None and found.said == "no"


def test_long_answer_is_passed_on_unjudged_and_a_stream_from_its_first_event() -> None:
    start = b'{"choices": [' + b" " * MOST_JUDGED_BYTES
    assert not is_judged(200, JSON, start[:1000]) and is_judged(200, JSON, start)
    assert find_fault(200, JSON, start, is_whole=False) is None
    assert not is_judged(200, STREAM, b': waiting\n\ndata: {"choices"')
    assert is_judged(200, STREAM, b": waiting\n\ndata: 1\n\n")


def test_pause_that_an_upstream_asks_for_is_read() -> None:
    for status, pause in ((429, 7.0), (503, 7.0), (500, 0.0)):
        found = fault_of(status, error("slow down"), JSON | {"retry-after": "7"})
        assert found is not None and found.pause == pause
    found = fault_of(429, error("slow down"), JSON | {"retry-after": "soon"})
    assert found is not None and found.pause == 0
