"""An OpenAI-compatible endpoint on loopback that counts what it bills and misbehaves on demand."""

import gzip
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from unirouter_torch.measurement.measure import Measurement, Question

Run = Callable[..., Measurement]
KEY = "sk-made-up-key"
PROMPT_TOKENS = 10
ANSWER_TOKENS = 5
BILLED = ("ok", "broken_json", "no_choice", "slow_body", "reset", "filtered", "no_usage", "cut_off", "greedy")
"""Behaviours after which an answer was made, and is billed, whether it arrives or not."""
CHUNKS = (
    *(
        b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": '
        b'[{"index": 0, "delta": {"content": "%s"}, "finish_reason": null}]}\n\n' % part.encode()
        for part in ("echo: ", "naïve ", "otter")
    ),
    b": a comment, and a field that nobody knows\nx-unknown: 1\n\n",
    b"data: [DONE]\n\n",
)
"""What comes of a stream, piece by piece."""


def questions(*prompts: str) -> list[Question]:
    return [Question(f"id {prompt}", prompt, f"echo: {prompt}") for prompt in prompts]


class Endpoint:
    """What the endpoint is told to do, and what it has seen.

    Attributes:
        plan: Behaviours for the next requests with a message; ``ok`` once they are used up.
        default: Behaviour where the plan says nothing.
        answer: The answer to a message.
        requests: Every request body, in order.
        keys: Every Authorization header, in order.
        times: When each request arrived [seconds].
        billed: How often each message was billed.
        hold: Requests wait for it before they are answered.
        most_at_once: Most requests that were on their way at one time.
        hung_up: Set once somebody hangs up on an endless stream.
    """

    def __init__(self) -> None:
        self.plan: dict[str, list[str]] = {}
        self.default = "ok"
        self.answer: Callable[[str], str] = lambda message: f"echo: {message}"
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.billed: Counter[str] = Counter()
        self.hold = threading.Event()
        self.hold.set()
        self.closing = threading.Event()
        self.hung_up = threading.Event()
        self.most_at_once = 0
        self.at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    @property
    def asked(self) -> Counter[str]:
        """How often each message arrived."""
        return Counter(request["messages"][0]["content"] for request in self.requests)

    def arrive(self, request: dict[str, Any], key: str) -> tuple[str, str]:
        message = request["messages"][0]["content"]
        with self.lock:
            self.requests.append(request)
            self.keys.append(key)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            planned = self.plan.get(message, [])
            behaviour = planned.pop(0) if planned else self.default
            if behaviour == "newer_name_only" and "max_completion_tokens" in request:
                behaviour = "ok"
        return message, behaviour

    def leave(self, message: str, behaviour: str) -> None:
        with self.lock:
            self.at_once -= 1
            if behaviour in BILLED:
                self.billed[message] += 1


@contextmanager
def endpoint_on_loopback() -> Iterator[Endpoint]:
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            message, behaviour = endpoint.arrive(request, self.headers["Authorization"])
            endpoint.hold.wait(30)
            endpoint.leave(message, behaviour)
            with suppress(BrokenPipeError, ConnectionResetError):
                self.respond(message, behaviour)

        def respond(self, message: str, behaviour: str) -> None:
            match behaviour:
                case "silence":
                    endpoint.closing.wait(30)
                case "slow_body":
                    self.start(200, 100_000)
                    while not endpoint.closing.wait(0.02):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                case "gzip":
                    body = gzip.compress(json.dumps(completion(endpoint.answer(message), "ok")).encode())
                    self.send(200, body, Content_Encoding="gzip", Set_Cookie="a=b", X_Request_Id="7")
                case "streamed":
                    chunk = {"choices": [{"delta": {"content": endpoint.answer(message)}, "finish_reason": "stop"}]}
                    self.send(200, f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())
                case "stream":
                    for chunk in CHUNKS:
                        self.write_chunk(chunk)
                    self.wfile.write(b"0\r\n\r\n")
                case "cut_stream":
                    self.write_chunk(CHUNKS[0])
                case "endless_stream":
                    try:
                        while not endpoint.closing.wait(0.02):
                            self.write_chunk(CHUNKS[0])
                    except (BrokenPipeError, ConnectionResetError):
                        endpoint.hung_up.set()
                case "reset":
                    self.start(200, 1000)
                    self.wfile.write(b'{"choices": [')
                case "broken_json":
                    self.send(200, b'{"choices": [{"message": ')
                case "no_choice":
                    self.send(200, b'{"choices": []}')
                case "newer_name_only":
                    self.fail(400, "Unsupported parameter: use 'max_completion_tokens' instead.")
                case "redirect":
                    self.send(307, b"", Location="http://elsewhere.invalid/v1/chat/completions")
                case "html":
                    self.send(200, b"<html><body>Log in first</body></html>")
                case "html_503":
                    self.send(503, b"<html><body>Down for maintenance</body></html>", Retry_After="7")
                case "empty":
                    self.send(200, b"")
                case "error_in_200":
                    self.send(200, b'{"error": {"message": "The provider is overloaded", "code": 502}}')
                case "error_in_stream":
                    self.write_chunk(b": waiting\n\n")
                    self.write_chunk(b'data: {"error": {"message": "The provider is overloaded"}}\n\n')
                    self.wfile.write(b"0\r\n\r\n")
                case "context_length":
                    self.fail(400, "This LLM takes 4096 tokens at most.", code="context_length_exceeded")
                case "no_tools":
                    self.fail(400, "this model does not support tools")
                case "content_filter":
                    self.fail(400, "The prompt was filtered.", code="content_filter")
                case "empty_account":
                    self.fail(429, "You exceeded your quota.", code="insufficient_quota")
                case "moderated":
                    self.fail(403, "Your input was flagged by moderation.")
                case "no_balance":
                    self.fail(400, "Your credit balance is too low to use the API.")
                case "unknown_model":
                    self.fail(400, "made/m is not a valid model ID")
                case "402_in_body":
                    self.send(200, json.dumps({"error": {"code": 402, "message": "Add credits."}}).encode())
                case "page":
                    self.send(200, b"<!doctype html><title>Sign in</title>")
                case "key_in_error":
                    self.fail(400, f"Your header was {self.headers['Authorization']}")
                case _ if behaviour[:3].isdigit():
                    status, _, retry_after = behaviour.partition(":")
                    self.fail(int(status), f"status {status}", retry_after=retry_after)
                case _:
                    self.send(200, json.dumps(completion(endpoint.answer(message), behaviour)).encode())

        def write_chunk(self, chunk: bytes) -> None:
            if self.protocol_version != "HTTP/1.1":  # of HTTP/1.0 the end of a stream is no end but a cut
                self.protocol_version, self.close_connection = "HTTP/1.1", True
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
            self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            self.wfile.flush()

        def start(self, status: int, length: int, **headers: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(length))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def send(self, status: int, body: bytes, **headers: str) -> None:
            self.start(status, len(body), **headers)
            self.wfile.write(body)

        def fail(self, status: int, message: str, code: str | None = None, retry_after: str = "") -> None:
            headers = {"Retry_After": retry_after} if retry_after else {}
            self.send(status, json.dumps({"error": {"message": message, "code": code}}).encode(), **headers)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.closing.set()
        endpoint.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def completion(text: str, behaviour: str) -> dict[str, Any]:
    reason = {"filtered": "content_filter", "cut_off": "length"}.get(behaviour, "stop")
    usage: dict[str, float] = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": 100_000 if behaviour == "greedy" else ANSWER_TOKENS,
    }
    content: Any = text
    match behaviour:
        case "parts":
            content = [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "text", "text": text},
            ]
        case "surrogate":
            content = f"{text} \ud83d"
        case "float_counts":
            usage = {name: float(count) for name, count in usage.items()}
        case "hidden_reasoning":
            usage["total_tokens"] = PROMPT_TOKENS + ANSWER_TOKENS + 3
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": reason}
    return {"choices": [choice]} | ({} if behaviour == "no_usage" else {"usage": usage})
