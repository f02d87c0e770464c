"""What one client can do to the others: bodies, connections, half requests, long prompts."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from served_router import Served, saved_router, served, write_upstreams

from unirouter_torch.serving import app, bodies, connections
from unirouter_torch.serving import server as server_module
from unirouter_torch.serving.batching import BatchLimits

HEAD = b"POST /v1/route HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved_router(tmp_path)


@pytest.fixture
def server(folder: Path) -> Iterator[Served]:
    with served(folder) as found:
        yield found


def connect(server: Served) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.settimeout(30)
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Wait until the server closes it."""
    with contextlib.suppress(ConnectionError):
        return not connection.recv(1)
    return True


@pytest.mark.parametrize("chunked", [False, True])
def test_too_long_a_body_is_refused_as_413_and_the_connection_goes_on(
    server: Served, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(bodies, "MOST_BODY_BYTES", 100_000)
    content = b'{"prompts": ["%s"]}' % (b"a" * 10**6)
    sent: Any = (content[start : start + 10_000] for start in range(0, len(content), 10_000)) if chunked else content
    response = server.http.post("/v1/route", content=sent, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert "longer than 100000 bytes" in response.json()["error"]["message"]
    assert server.http.post("/v1/route", json={"prompts": ["a"]}).status_code == 200


def test_too_long_a_chat_is_refused_before_it_is_sent_where_the_client_asks(folder: Path, tmp_path: Path) -> None:
    file = write_upstreams(tmp_path / "u.yaml", {"small": "http://127.0.0.1:9/v1"})
    with served(folder, file) as server, connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_bodies_are_bounded_together_and_room_comes_back(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MOST_HELD_BYTES", 10_000)
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 10000\r\n\r\n" + b" " * 9_990)
        refused = None
        while refused is None or refused.status_code == 200:  # until the server has read the other body
            refused = server.http.post("/v1/route", json={"prompts": ["the otter"]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    response = refused
    while response.status_code == 503:  # until it has noticed that the client is gone
        response = server.http.post("/v1/route", json={"prompts": ["the otter"]})
    assert response.status_code == 200


@pytest.mark.parametrize("sent", [b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /"])
def test_head_that_does_not_arrive_in_time_ends_the_connection(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    with served(folder) as server, connect(server) as connection:
        connection.sendall(sent)
        while not is_closed(connection):
            pass


@pytest.mark.parametrize(
    "sent", [b'Content-Length: 100\r\n\r\n{"prompts"', b"Transfer-Encoding: chunked\r\n\r\n2\r\n{ \r\n"]
)
def test_body_that_does_not_arrive_in_time_is_answered_with_408(
    folder: Path, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.2)
    with served(folder) as server, connect(server) as connection:
        connection.sendall(HEAD + sent)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ") and b"connection: close" in head.lower()
        assert json.loads(body)["error"]["message"].startswith("The body was not there after 0.2 seconds.")


def test_body_that_nobody_reads_ends_the_connection_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.2)
    with served(folder) as server, connect(server) as connection:
        connection.sendall(HEAD + b'Content-Length: 100\r\n\r\n{"prompts"')
        assert is_closed(connection)
        assert server.http.get("/health").status_code == 200


def test_answer_may_take_longer_than_a_request_may(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.1)
    with served(folder) as server:
        embed, go = server.live.router.encoder.embed, threading.Event()
        timer = threading.Timer(0.5, go.set)

        def slow(texts: list[str]) -> Any:
            timer.start()
            go.wait(30)
            return embed(texts)

        server.live.router.encoder.embed = slow  # type: ignore[method-assign]
        assert server.http.post("/v1/route", json={"prompts": ["a"]}).status_code == 200


def test_many_half_requests_keep_nobody_out_and_cost_no_more_files_than_the_limit(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MOST_CONNECTIONS", 10)
    with served(folder) as server, contextlib.ExitStack() as stack:
        halves = [stack.enter_context(connect(server)) for _ in range(60)]
        for half in halves:
            with contextlib.suppress(ConnectionError):
                half.sendall(HEAD)
        with httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as other:
            assert other.get("/health").status_code == 200
            assert other.post("/v1/route", json={"prompts": ["a"]}).status_code == 200
        assert all(is_closed(half) for half in halves[:49])


def test_follower_survives_files_that_cannot_be_opened(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FOLLOW_SECONDS", 0.01)
    with served(folder) as server:
        follow, failed, again = server.live.follow, threading.Event(), threading.Event()

        def fail_once() -> None:
            if not failed.is_set():
                failed.set()
                raise OSError(24, "Too many open files")
            again.set()
            follow()

        server.live.follow = fail_once  # type: ignore[method-assign]
        assert failed.wait(30) and again.wait(30)


def test_small_request_is_answered_while_a_large_one_is_in_work(folder: Path) -> None:
    with served(folder, limits=BatchLimits(most_together=4)) as server:
        embed, batches, go = server.live.router.encoder.embed, [], threading.Event()
        started = threading.Event()

        def listening(texts: list[str]) -> Any:
            batches.append(list(texts))
            started.set()
            go.wait(30)
            return embed(texts)

        server.live.router.encoder.embed = listening  # type: ignore[method-assign]
        large = {"prompts": [f"the otter sings {number}" for number in range(64)]}
        asking = threading.Thread(target=lambda: server.http.post("/v1/route", json=large))
        asking.start()
        assert started.wait(30)
        with httpx2.Client(base_url=server.url, trust_env=False, timeout=30) as other:
            waiting = threading.Thread(target=lambda: other.post("/v1/route", json={"prompts": ["the kite"]}))
            waiting.start()
            while server.count("unirouter_waiting_prompts") < 65:
                pass
            go.set()
            waiting.join()
            asking.join()
        assert "the kite" in batches[1]


def test_health_answers_head_too(server: Served) -> None:
    response = server.http.head("/health")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(server.http.get("/health").content))
    assert server.http.get("/openapi.json").status_code == 200


def test_pages_of_named_origins_alone_may_ask(folder: Path) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    with served(folder, cors_origins=["https://app.invalid"], api_key="sk-made-up") as server:
        for origin, is_allowed in (("https://app.invalid", True), ("https://other.invalid", False)):
            answer = server.http.options("/v1/route", headers=asked | {"origin": origin})
            assert (answer.status_code == 200) == is_allowed
            answer = server.http.post("/v1/route", json={"prompts": ["a"]}, headers={"origin": origin})
            assert answer.status_code == 401, "a key is asked for all the same"
            assert answer.headers.get("access-control-allow-origin") == (origin if is_allowed else None)
    with served(folder) as server:
        answer = server.http.get("/health", headers={"origin": "https://app.invalid"})
        assert "access-control-allow-origin" not in answer.headers


def test_megabytes_of_a_request_do_not_come_back_in_its_error(server: Served) -> None:
    for body in ({"prompts": ["a"], "llms": ["m" * 10**6]}, {"prompts": ["a"], "k" * 10**6: 1}):
        response = server.http.post("/v1/route", json=body)
        assert response.status_code == 400 and len(response.content) < 5000
