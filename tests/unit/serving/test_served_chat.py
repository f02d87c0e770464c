"""Chat over HTTP: a real server, real upstreams that misbehave on demand, the official client."""

import gzip
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from misbehaving_endpoint import CHUNKS, KEY, Endpoint, completion, endpoint_on_loopback
from served_router import Served, saved_router, served, write_upstreams

from unirouter_torch.errors import ConfigError
from unirouter_torch.serving import server as server_module
from unirouter_torch.serving.breaker import FAILURES_IN_A_ROW
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.relay import Relay

PROMPT = "the otter sings"
LLMS = ("small", "large", "other")


@pytest.fixture
def upstreams() -> Iterator[dict[str, Endpoint]]:
    """One endpoint for each LLM."""
    with ExitStack() as stack:
        found = {llm: stack.enter_context(endpoint_on_loopback()) for llm in LLMS}
        for llm, endpoint in found.items():
            endpoint.answer = lambda message, llm=llm: f"{llm}: {message}"
        yield found


@pytest.fixture
def upstream_file(upstreams: dict[str, Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KEY_OF_LARGE", KEY)
    fields: dict[str, Any] = {llm: {"base_url": its.url, "timeout": 20} for llm, its in upstreams.items()}
    fields["large"] |= {"api_key_env": "KEY_OF_LARGE", "model": "large/there"}
    return write_upstreams(tmp_path / "upstreams.yaml", fields)


@pytest.fixture
def server(upstream_file: Path, tmp_path: Path) -> Iterator[Served]:
    with served(saved_router(tmp_path), upstream_file) as found:
        yield found


@pytest.fixture
def client(server: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def order(server: Served, weight: float) -> list[str]:
    """The LLMs for the prompt, the best one first."""
    (route,) = server.live.router.route([PROMPT], weight)
    return route.ranking


def ask(server: Served, model: str = "unirouter-0", **fields: Any) -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]} | fields
    return server.http.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize("weight", [0.0, 0.3, 5.0])
def test_official_client_gets_the_answer_of_the_llm_that_the_router_chooses(
    server: Served, client: openai.OpenAI, weight: float
) -> None:
    chosen = order(server, weight)[0]
    answer = client.chat.completions.create(
        model=f"unirouter-{weight:g}", messages=[{"role": "user", "content": PROMPT}]
    )
    assert answer.choices[0].message.content == f"{chosen}: {PROMPT}"
    assert server.count(f'unirouter_choices_total{{llm="{chosen}"}}') == 1
    assert server.count(f'unirouter_fallbacks_total{{llm="{chosen}"}}') == 0


def test_the_cost_weights_of_these_tests_choose_different_llms(server: Served) -> None:
    assert order(server, 0.0)[0] != order(server, 5.0)[0]


def test_official_client_streams(server: Served, client: openai.OpenAI, upstreams: dict[str, Endpoint]) -> None:
    for endpoint in upstreams.values():
        endpoint.default = "stream"
    stream = client.chat.completions.create(
        model="unirouter", messages=[{"role": "user", "content": PROMPT}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "echo: naïve otter"


def test_stream_arrives_byte_for_byte(server: Served, upstreams: dict[str, Endpoint]) -> None:
    upstreams["other"].default = "stream"
    response = ask(server, "other", stream=True)
    assert response.content == b"".join(CHUNKS)
    assert response.headers["content-type"] == "text/event-stream"


def test_answer_and_request_pass_unchanged_but_for_the_model_and_the_key(
    server: Served, upstreams: dict[str, Endpoint]
) -> None:
    response = ask(server, "large", temperature=0.25, made_up={"naïve": [1]})
    assert response.content == json.dumps(completion(f"large: {PROMPT}", "ok")).encode()
    assert response.headers["x-unirouter-llm"] == "large"
    (request,) = upstreams["large"].requests
    messages = [{"role": "user", "content": PROMPT}]
    assert request == {"model": "large/there", "messages": messages, "temperature": 0.25, "made_up": {"naïve": [1]}}
    assert upstreams["large"].keys == [f"Bearer {KEY}"]
    ask(server, "small")
    assert upstreams["small"].keys == [None], "no upstream gets a key that is not its own, not even the client's"


def test_compressed_answer_stays_as_it_is(server: Served, upstreams: dict[str, Endpoint]) -> None:
    upstreams["small"].default = "gzip"
    body = {"model": "small", "messages": [{"role": "user", "content": PROMPT}]}
    with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
        raw = b"".join(response.iter_raw())
    assert json.loads(gzip.decompress(raw))["choices"][0]["message"]["content"] == f"small: {PROMPT}"
    assert response.headers["content-encoding"] == "gzip" and response.headers["x-request-id"] == "7"
    assert "set-cookie" not in response.headers
    assert len(response.headers.get_list("date")) == 1


def test_models_are_the_router_and_its_llms(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"unirouter", *LLMS}


FAULTS = {
    **{status: f"status {status}" for status in ("401", "402", "403", "404", "408", "413", "429", "500", "503")},
    "redirect": "redirect, status 307",
    "html": "HTML",
    "html_503": "status 503",
    "empty": "empty body",
    "error_in_200": "error in an answer of status 200",
    "error_in_stream": "error in an answer of status 200",
    "broken_json": "broken JSON",
    "no_choice": "no choice in the answer",
    "reset": "connection lost",
    "context_length": "status 400, not with this LLM",
    "no_tools": "status 400, not with this LLM",
}


@pytest.mark.parametrize("failure", FAULTS)
def test_next_best_llm_answers_for_one_that_fails(
    server: Served, upstreams: dict[str, Endpoint], failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = order(server, 0.0)
    upstreams[first].default = failure
    response = ask(server)
    assert response.json()["choices"][0]["message"]["content"] == f"{second}: {PROMPT}"
    assert response.headers["x-unirouter-llm"] == second
    assert not upstreams[third].requests
    assert server.count(f'unirouter_fallbacks_total{{llm="{second}"}}') == 1
    assert server.count(f'unirouter_upstream_errors_total{{llm="{first}",reason="{FAULTS[failure]}"}}') == 1
    assert any(record.getMessage().startswith(f"{first}: {FAULTS[failure]}") for record in caplog.records)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        ("401", 502),
        ("402", 502),
        ("404", 502),
        ("redirect", 502),
        ("html", 502),
        ("empty", 502),
        ("error_in_200", 502),
        ("html_503", 503),
        ("403", 403),
        ("413", 413),
        ("context_length", 400),
    ],
)
def test_where_nobody_answers_the_client_gets_what_concerns_it_in_the_form_of_openai(
    server: Served, upstreams: dict[str, Endpoint], failure: str, status: int
) -> None:
    for endpoint in upstreams.values():
        endpoint.default = failure
    response = ask(server)
    assert response.status_code == status
    assert "location" not in response.headers
    said = response.json()["error"]["message"]
    expected = {403: "status 403", 413: "status 413", 400: "This LLM takes 4096 tokens at most."}
    assert said == expected.get(status) or said.startswith("No LLM answered (")
    assert response.headers.get("retry-after") == ("7" if failure == "html_503" else None)
    assert all(len(endpoint.requests) == 1 for endpoint in upstreams.values())


def test_llm_that_keeps_failing_is_left_out_and_told_in_the_metrics(
    server: Served, upstreams: dict[str, Endpoint]
) -> None:
    first, second, _ = order(server, 0.0)
    upstreams[first].default = "500"
    for _ in range(6):
        assert ask(server).headers["x-unirouter-llm"] == second
    assert len(upstreams[first].requests) == FAILURES_IN_A_ROW
    assert server.count(f'unirouter_upstream_left_out{{llm="{first}"}}') == 1
    upstreams[first].default = "ok"
    assert ask(server, first).status_code == 200, "who names it gets it, and its answer takes it back"
    assert server.count(f'unirouter_upstream_left_out{{llm="{first}"}}') == 0
    assert ask(server).headers["x-unirouter-llm"] == first


def test_llm_that_asks_for_a_pause_gets_it(server: Served, upstreams: dict[str, Endpoint]) -> None:
    first, second, _ = order(server, 0.0)
    upstreams[first].default = "429:1000"
    for _ in range(3):
        assert ask(server).headers["x-unirouter-llm"] == second
    assert len(upstreams[first].requests) == 1


def test_too_long_a_request_is_no_reason_to_leave_an_llm_out(server: Served, upstreams: dict[str, Endpoint]) -> None:
    first, second, _ = order(server, 0.0)
    upstreams[first].default = "context_length"
    for _ in range(FAILURES_IN_A_ROW + 1):
        assert ask(server).headers["x-unirouter-llm"] == second
    assert len(upstreams[first].requests) == FAILURES_IN_A_ROW + 1


def test_upstreams_are_asked_through_the_proxy_of_the_environment(
    upstreams: dict[str, Endpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved_router(tmp_path)
    file = write_upstreams(tmp_path / "u.yaml", {"small": "http://upstream.invalid/v1"})
    monkeypatch.setenv("HTTP_PROXY", upstreams["small"].url.removesuffix("/v1"))
    monkeypatch.delenv("NO_PROXY", raising=False)
    with served(folder, file) as server:
        assert ask(server).json()["choices"][0]["message"]["content"] == f"small: {PROMPT}"
    monkeypatch.setenv("NO_PROXY", "upstream.invalid")
    with served(folder, file) as server:
        assert ask(server).status_code == 502


@pytest.mark.parametrize(("name", "value"), [("HTTP_PROXY", "ftp://a"), ("SSL_CERT_FILE", "/no/such/file")])
def test_proxy_or_certificates_that_cannot_be_used_are_told_at_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="proxy or certificates"):
        Relay(Metrics())


@pytest.mark.parametrize("accept", [b"text/\xff\xfe", b"a\x7fb", "ä".encode()])
def test_odd_accept_header_is_not_passed_on(server: Served, upstreams: dict[str, Endpoint], accept: bytes) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": PROMPT}]}
    response = server.http.post("/v1/chat/completions", json=body, headers=[(b"accept", accept)])
    assert response.status_code in (200, 400) and len(upstreams["small"].requests) == (response.status_code == 200)


def test_llm_that_cannot_be_reached_or_is_silent_is_passed_over(
    server: Served, upstreams: dict[str, Endpoint], upstream_file: Path, tmp_path: Path
) -> None:
    first, second, third = order(server, 0.0)
    upstreams[second].default = "silence"
    addresses = {
        first: "http://127.0.0.1:9/v1",
        second: {"base_url": upstreams[second].url, "timeout": 0.2},
        third: upstreams[third].url,
    }
    with served(tmp_path / "router", write_upstreams(tmp_path / "other.yaml", addresses)) as other:
        assert ask(other).headers["x-unirouter-llm"] == third
        assert other.count(f'unirouter_upstream_errors_total{{llm="{first}",reason="no connection"}}') == 1
        assert other.count(f'unirouter_upstream_errors_total{{llm="{second}",reason="timed out"}}') == 1


@pytest.mark.parametrize("status", ["400", "422"])
def test_refusals_of_the_request_itself_are_passed_on(
    server: Served, upstreams: dict[str, Endpoint], status: str
) -> None:
    first, second, _ = order(server, 0.0)
    upstreams[first].default = status
    response = ask(server)
    assert response.status_code == int(status)
    assert response.json() == {"error": {"message": f"status {status}", "code": None}}
    assert response.headers["x-unirouter-llm"] == first and not upstreams[second].requests


def test_last_failure_is_what_the_client_gets(
    server: Served, client: openai.OpenAI, upstreams: dict[str, Endpoint]
) -> None:
    for endpoint in upstreams.values():
        endpoint.default = "429:7"
    response = ask(server)
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert [len(endpoint.requests) for endpoint in upstreams.values()] == [1, 1, 1]
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(model="unirouter", messages=[{"role": "user", "content": PROMPT}])


def test_without_any_answer_the_client_is_told_who_failed_how(tmp_path: Path) -> None:
    nowhere = dict.fromkeys(LLMS, "http://127.0.0.1:9/v1")
    with served(saved_router(tmp_path), write_upstreams(tmp_path / "u.yaml", nowhere), fallbacks=1) as server:
        response = ask(server)
        first, second, _ = order(server, 0.0)
    assert response.status_code == 502
    message = f"No LLM answered ({first}: no connection; {second}: no connection). Try again."
    assert response.json()["error"] == {
        "message": message,
        "type": "server_error",
        "param": None,
        "code": "upstream_failed",
    }


def test_llm_asked_by_name_has_no_substitute(server: Served, upstreams: dict[str, Endpoint]) -> None:
    upstreams["small"].default = "500"
    assert ask(server, "small").status_code == 500
    assert not upstreams["large"].requests and not upstreams["other"].requests


def test_stream_that_breaks_off_breaks_off_for_the_client_too(server: Served, upstreams: dict[str, Endpoint]) -> None:
    upstreams["small"].default = "cut_stream"
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(server, "small", stream=True)
    assert server.count('unirouter_upstream_errors_total{llm="small",reason="broke off"}') == 1
    upstreams["small"].default = "ok"
    assert ask(server, "small").status_code == 200


def test_client_that_leaves_a_stream_ends_it_at_the_upstream(server: Served, upstreams: dict[str, Endpoint]) -> None:
    upstreams["small"].default = "endless_stream"
    body = {"model": "small", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    with server.http.stream("POST", "/v1/chat/completions", json=body) as response:
        assert next(response.iter_raw())
        assert not upstreams["small"].hung_up.is_set()
    assert upstreams["small"].hung_up.wait(60)


def test_stream_without_an_end_is_cut_when_the_server_has_waited_long_enough(
    upstreams: dict[str, Endpoint], upstream_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "GRACE_SECONDS", 1)
    upstreams["small"].default = "endless_stream"
    body = {"model": "small", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    with ExitStack() as stack:
        server = stack.enter_context(served(saved_router(tmp_path), upstream_file))
        client = stack.enter_context(httpx2.Client(base_url=server.url, trust_env=False))
        response = stack.enter_context(client.stream("POST", "/v1/chat/completions", json=body))
        chunks = response.iter_raw()
        assert next(chunks)
        server.stop()
        with pytest.raises(httpx2.RemoteProtocolError):
            list(chunks)
    assert upstreams["small"].hung_up.wait(60)


def test_client_that_leaves_before_the_answer_is_noticed(server: Served, upstreams: dict[str, Endpoint]) -> None:
    first, second, _ = order(server, 0.0)
    upstreams[first].default = "silence"
    with pytest.raises(httpx2.ReadTimeout):
        server.http.post(
            "/v1/chat/completions",
            json={"model": "unirouter-0", "messages": [{"role": "user", "content": PROMPT}]},
            timeout=httpx2.Timeout(60, read=0.5),
        )
    gone = 'unirouter_requests_total{endpoint="/v1/chat/completions",status="499"}'
    deadline = time.monotonic() + 60
    while server.count(gone) == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.count(gone) == 1
    assert not upstreams[second].requests, "nobody is asked for a client that is gone"


def test_llm_without_upstream_or_out_of_service_gets_no_chat(upstreams: dict[str, Endpoint], tmp_path: Path) -> None:
    folder = saved_router(tmp_path)
    some = {llm: upstreams[llm].url for llm in ("small", "other")} | {"not in the pool": upstreams["large"].url}
    with served(folder, write_upstreams(tmp_path / "u.yaml", some)) as server:
        assert "large" in order(server, 0.0)
        for weight in (0.0, 0.3, 5.0):
            assert ask(server, f"unirouter-{weight}").headers["x-unirouter-llm"] in ("small", "other")
        assert "has no upstream" in ask(server, "large").json()["error"]["message"]
        assert "is no LLM of the pool" in ask(server, "not in the pool").json()["error"]["message"]
        upstreams["small"].default = upstreams["other"].default = "500"
        assert ask(server).headers["x-unirouter-llm"] in ("small", "other")
    assert not upstreams["large"].requests


def test_llm_out_of_service_steps_in_for_none(server: Served, upstreams: dict[str, Endpoint]) -> None:
    first, second, third = order(server, 0.0)
    router = server.live.router
    router.pool = router.pool.with_changes(second, is_available=False)
    upstreams[first].default = "500"
    assert ask(server).headers["x-unirouter-llm"] == third
    router.pool = router.pool.with_changes(third, is_available=False)
    assert ask(server).headers["x-unirouter-llm"] == first
    assert not upstreams[second].requests
    assert ask(server, second).status_code == 200, "who names it gets it"
    router.pool = router.pool.with_changes(second, is_available=True).with_changes(first, is_available=False)
    server.live.upstreams = {first: server.live.upstreams[first]}
    response = ask(server)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "no_llm")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "what"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"{}", "application/json", 400, "model: expected"),
        (
            b'{"model": "gpt", "messages": [{"role": "user", "content": "a"}]}',
            "application/json",
            404,
            "'gpt' is no LLM",
        ),
        (b'{"model": "small", "messages": [{}], "seed": NaN}', "application/json", 400, "it holds NaN"),
        (
            b'{"model": "small", "messages": [{}], "seed": [-1e999]}',
            "application/json",
            400,
            "Numbers have to be finite",
        ),
        (b'{"model": "%s", "messages": [{}]}' % (b"m" * 10**6), "application/json", 404, "mmm..."),
        (b'{"model": "\\ud83d", "messages": [{}]}', "application/json", 404, "is no LLM"),
        (b'{"model": "unirouter-x", "messages": [{}]}', "application/json", 404, "names no cost weight"),
        (b'{"model": "small", "messages": [{}]}', "text/plain", 415, "application/json"),
    ],
)
def test_mistakes_are_told_in_the_form_of_openai(
    server: Served, upstreams: dict[str, Endpoint], body: bytes, content_type: str, status: int, what: str
) -> None:
    response = server.http.post("/v1/chat/completions", content=body, headers={"content-type": content_type})
    assert response.status_code == status
    assert what in response.json()["error"]["message"]
    assert response.json()["error"]["type"] == "invalid_request_error" and len(response.content) < 2000
    assert not any(endpoint.requests for endpoint in upstreams.values())


def test_router_may_be_the_upstream_of_another(server: Served, upstreams: dict[str, Endpoint], tmp_path: Path) -> None:
    upstreams["large"].default = "stream"
    behind = {"small": {"base_url": f"{server.url}/v1", "model": "large"}}
    with served(tmp_path / "router", write_upstreams(tmp_path / "outer.yaml", behind)) as outer:
        response = ask(outer, "unirouter", stream=True)
        assert response.content == b"".join(CHUNKS)
        assert response.headers.get_list("x-unirouter-llm") == ["small"]


def test_llm_of_any_name_stands_in_the_header(upstreams: dict[str, Endpoint], tmp_path: Path) -> None:
    folder = saved_router(tmp_path)
    with served(folder, write_upstreams(tmp_path / "u.yaml", {"small": upstreams["small"].url})) as server:
        router = server.live.router
        router.pool = router.pool.with_changes("small", name="org/naïve 7B:free")
        server.live.upstreams["org/naïve 7B:free"] = server.live.upstreams["small"]
        assert ask(server).headers["x-unirouter-llm"] == "org/na%C3%AFve%207B:free"
