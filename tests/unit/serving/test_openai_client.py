"""What the official client sends and reads of OpenAI's APIs, through a router on loopback."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import openai
import pytest
import torch
from served_router import Served, saved_router, served, write_upstreams

PROMPT = "the otter sings"


class Upstream(NamedTuple):
    """An endpoint that answers with what it is told, and keeps what it was asked."""

    url: str
    answers: dict[str, Any]
    asked: list[tuple[str, dict[str, Any]]]


@contextmanager
def scripted_upstream() -> Iterator[Upstream]:
    answers: dict[str, Any] = {}
    asked: list[tuple[str, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            answer = answers[self.path]
            is_stream = isinstance(answer, list)
            events = [
                f"{'event: ' + e['type'] + chr(10) if 'type' in e else ''}data: {json.dumps(e)}\n\n" for e in answer
            ]
            body = ("".join(events) + "data: [DONE]\n\n" if is_stream else json.dumps(answer)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if is_stream else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Upstream(f"http://127.0.0.1:{server.server_port}/v1", answers, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted_upstream() as found:
        yield found


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    file = write_upstreams(folder / "upstreams.yaml", dict.fromkeys(("small", "large", "other"), upstream.url))
    with served(saved_router(folder), file, embeddings=True) as found:
        yield found


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def test_chat_with_all_that_a_chat_may_hold_arrives_and_its_answer_comes_back(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    choices = [
        {"index": index, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, **extra}}
        for index, extra in enumerate(
            ({"tool_calls": [call]}, {"reasoning_content": "It sings.", "tool_calls": [call]})
        )
    ]
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    upstream.answers["/v1/chat/completions"] = {
        "id": "a",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": choices,
        "usage": usage,
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    tool: Any = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}
    sent: dict[str, Any] = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": PROMPT}, image]},
        ],
        "n": 2,
        "tools": [tool],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "max_completion_tokens": 9,
    }
    answer = client.chat.completions.create(model="unirouter-0", extra_body={"odd": [1, None]}, **sent)
    _, asked = upstream.asked[-1]
    assert asked.pop("model") in ("small", "large", "other")
    assert asked == sent | {"odd": [1, None]}
    assert len(answer.choices) == 2 and answer.usage is not None
    assert answer.choices[1].message.model_extra == {"reasoning_content": "It sings."}
    calls = answer.choices[0].message.tool_calls
    assert calls is not None and calls[0].model_dump() == call
    details = answer.usage.completion_tokens_details
    assert details is not None and details.reasoning_tokens == 4


def test_stream_with_usage_ends_with_the_usage(client: openai.OpenAI, upstream: Upstream) -> None:
    head = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"index": 0, "delta": {"role": "assistant", "content": "otter"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    upstream.answers["/v1/chat/completions"] = [
        head | {"choices": [delta], "usage": None},
        head | {"choices": [], "usage": usage},
    ]
    stream = client.chat.completions.create(
        model="unirouter",
        messages=[{"role": "user", "content": PROMPT}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert upstream.asked[-1][1]["stream_options"] == {"include_usage": True}
    assert chunks[0].choices[0].delta.content == "otter"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 8


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "completed",
    "error": None,
    "output": [
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "otter", "annotations": []}],
        }
    ],
}


def test_responses_api_is_routed_and_relayed(client: openai.OpenAI, server: Served, upstream: Upstream) -> None:
    upstream.answers["/v1/responses"] = RESPONSE
    answer = client.responses.with_raw_response.create(model="unirouter-0", input=PROMPT, reasoning={"effort": "low"})
    assert answer.headers["x-unirouter-llm"] == server.live.router.route([PROMPT], 0.0)[0].llm
    assert answer.parse().output_text == "otter"
    path, asked = upstream.asked[-1]
    assert path == "/v1/responses" and asked["reasoning"] == {"effort": "low"} and asked["input"] == PROMPT
    upstream.answers["/v1/responses"] = [
        {"type": "response.created", "sequence_number": 0, "response": RESPONSE},
        {"type": "response.completed", "sequence_number": 1, "response": RESPONSE},
    ]
    items: Any = [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}]
    events = [event.type for event in client.responses.create(model="unirouter", input=items, stream=True)]
    assert events == ["response.created", "response.completed"]


def test_response_that_failed_is_a_fault(client: openai.OpenAI, upstream: Upstream) -> None:
    error = {"code": "server_error", "message": "The provider is overloaded"}
    upstream.answers["/v1/responses"] = RESPONSE | {"status": "failed", "error": error, "output": []}
    with pytest.raises(openai.APIStatusError, match="No LLM answered"):
        client.responses.create(model="unirouter", input=PROMPT)


def test_response_that_goes_on_from_another_goes_to_the_llm_that_keeps_it(
    client: openai.OpenAI, upstream: Upstream
) -> None:
    upstream.answers["/v1/responses"] = RESPONSE
    with pytest.raises(openai.BadRequestError, match=r"previous_response_id: .* x-unirouter-session"):
        client.responses.create(model="unirouter", input=PROMPT, previous_response_id="resp_1")
    session = {"x-unirouter-session": "a"}
    first = client.responses.with_raw_response.create(model="unirouter-0", input=PROMPT, extra_headers=session)
    then = client.responses.with_raw_response.create(
        model="unirouter-5", input=PROMPT, previous_response_id="resp_1", extra_headers=session
    )
    assert then.headers["x-unirouter-llm"] == first.headers["x-unirouter-llm"]
    client.responses.create(model="small", input=PROMPT, previous_response_id="resp_1")


def test_models_tell_cost_and_context(client: openai.OpenAI, server: Served) -> None:
    router = server.live.router
    router.pool = router.pool.with_changes("large", context_tokens=4096)
    found = {model.id: model.model_extra for model in client.models.list()}
    assert list(found) == ["unirouter", "small", "large", "other"]
    assert found["large"] == {
        "available": True,
        "cost": 2.0,
        "price_in": None,
        "price_out": None,
        "context_tokens": 4096,
        "cost_unit": "US dollars per prompt",
    }
    assert client.models.retrieve("small").model_extra == found["small"]
    with pytest.raises(openai.NotFoundError, match="'gpt/9' is none"):
        client.models.retrieve("gpt/9")


def test_embeddings_are_those_of_the_encoder(client: openai.OpenAI, server: Served) -> None:
    texts = [PROMPT, "a kite", PROMPT]
    expected = server.live.router.encoder.embed(texts)
    for form in ("float", "base64", openai.NOT_GIVEN):
        answer = client.embeddings.create(model="unirouter", input=texts, encoding_format=form)  # type: ignore[arg-type]
        found = torch.stack([torch.tensor(one.embedding) for one in answer.data]) if form != "base64" else None
        if found is not None:
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
        assert answer.usage.total_tokens == sum(map(len, server.live.router.encoder.tokenize_rows(texts)))
    with pytest.raises(openai.BadRequestError, match="dimensions: got 3, expected 16"):
        client.embeddings.create(model="unirouter", input="a", dimensions=3)
    with pytest.raises(openai.BadRequestError, match="input"):
        client.embeddings.create(model="unirouter", input=[[1, 2]])


def test_every_answer_has_a_request_id(client: openai.OpenAI, server: Served) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "a"}])
    assert error.value.request_id is not None and len(error.value.request_id) == 32
    given = server.http.get("/health", headers={"x-request-id": "mine"})
    assert given.headers["x-request-id"] == "mine"
    assert server.http.get("/health", headers={"x-request-id": "a b"}).headers["x-request-id"] != "a b"
