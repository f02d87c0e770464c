"""Choices over HTTP, the pool that changes meanwhile, the key, and the counts."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from misbehaving_endpoint import endpoint_on_loopback
from served_router import Served, saved_router, served, until, write_upstreams
from small_router import KINDS, small_router

from unirouter_torch.config.choice import Choice, WeightedChoiceOptions
from unirouter_torch.errors import ConfigError, PoolError
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency
from unirouter_torch.serving import app
from unirouter_torch.serving.batching import BatchLimits
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.server import listen, serve
from unirouter_torch.serving.settings import ServerSettings
from unirouter_torch.serving.traffic_log import TrafficLog

PROMPTS = ["the otter sings", "a red kite over the harbour", "the clock"]


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return saved_router(tmp_path, request.param)


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(app, "FOLLOW_SECONDS", 0.02)
    with served(folder) as found:
        yield found


def route(server: Served, **fields: Any) -> dict[str, Any]:
    response = server.http.post("/v1/route", json=fields)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_routes_are_those_of_the_router(server: Served, folder: Path) -> None:
    router = Router.from_pretrained(folder)
    for weight, llms in ((None, None), (0.0, None), (0.7, ["small", "other"]), (5.0, ["large"])):
        found = route(server, prompts=PROMPTS, cost_weight=weight, llms=llms)
        assert found["cost_weight"] == (0.1 if weight is None else weight)
        assert (found["reference_cost"], found["cost_unit"]) == (2.0, router.pool.cost_unit)
        for one, expected in zip(found["routes"], router.route(PROMPTS, weight, llms=llms), strict=True):
            assert (one["llm"], one["cost"]) == (expected.llm, expected.cost)
            torch.testing.assert_close(one["estimated_error"], expected.estimated_error)


def test_server_has_options_of_its_own_where_a_request_has_none(folder: Path) -> None:
    router = Router.from_pretrained(folder)
    for llm, seconds in (("small", 3.0), ("large", 1.0), ("other", 2.0)):
        router.pool = router.pool.with_changes(llm, latency=Latency(seconds=seconds))
    router.save_pool("latencies")
    own: Choice = {"latency_weight": 0.5, "caution": 0.9, "llms": ["small", "large"]}
    with served(folder, defaults={"cost_weight": 0.4, **own}) as server:
        found = route(server, prompts=PROMPTS)
        assert found["cost_weight"] == 0.4
        for one, expected in zip(found["routes"], router.route(PROMPTS, 0.4, **own), strict=True):
            assert (one["llm"], one["cost"]) == (expected.llm, expected.cost)
            torch.testing.assert_close(one["estimated_error"], expected.estimated_error)
        assert {one["llm"] for one in route(server, prompts=PROMPTS, llms=["other"])["routes"]} == {"other"}


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({}, "prompts: Field required"),
        ({"prompts": []}, "prompts: "),
        ({"prompts": "the otter"}, "prompts: "),
        ({"prompts": ["a", 7]}, "prompts.1: "),
        ({"prompts": ["a"] * 1025}, "prompts: "),
        ({"prompts": ["a"], "cost_weight": -1}, "cost_weight: "),
        ({"prompts": ["a"], "cost_weight": True}, "cost_weight: "),
        ({"prompts": ["a"], "cost_weight": "0.1"}, "cost_weight: "),
        ({"prompts": ["a"], "llms": []}, "llms: "),
        ({"prompts": ["a"], "llms": ["smal"]}, "no LLM named 'smal'; it holds small"),
        ({"prompts": ["a"], "cost_wieght": 1}, "cost_wieght: "),
    ],
)
def test_mistakes_are_told(server: Served, fields: dict[str, Any], what: str) -> None:
    response = server.http.post("/v1/route", json=fields)
    assert response.status_code == 400
    assert what in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"prompts": ["a"], "cost_weight": 1e999}'])
def test_body_that_is_no_request_is_refused(server: Served, body: bytes) -> None:
    response = server.http.post("/v1/route", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_unknown_paths_and_methods_have_the_form_of_openai(server: Served) -> None:
    assert server.http.get("/v1/nothing").json()["error"]["message"] == "Not Found"
    assert server.http.get("/v1/route").status_code == 405
    assert server.count('unirouter_requests_total{endpoint="other",status="404"}') == 1


def test_half_of_a_surrogate_pair_is_a_prompt_as_any(server: Served) -> None:
    body = b'{"prompts": ["the \\ud83d otter"]}'
    response = server.http.post("/v1/route", content=body, headers={"content-type": "application/json"})
    assert response.status_code in (200, 400)


def test_without_upstreams_there_is_no_chat(server: Served) -> None:
    body = {"model": "unirouter", "messages": [{"role": "user", "content": "a"}]}
    response = server.http.post("/v1/chat/completions", json=body)
    assert response.status_code == 404
    assert "started without upstreams" in response.json()["error"]["message"]
    assert server.http.get("/v1/models").json() == {"object": "list", "data": []}


def test_change_of_the_pool_is_taken_over_while_requests_go_on(server: Served, folder: Path) -> None:
    stop, failures = threading.Event(), []

    def keep_asking() -> None:
        while not stop.is_set():
            try:
                route(server, prompts=PROMPTS[:1])
            except AssertionError as error:
                failures.append(error)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    try:
        router = Router.from_pretrained(folder)
        router.add_llm("tomorrow", dict.fromkeys(router.calibration.prompt_ids, 1.0), cost=0.0)
        router.save_pool("add tomorrow")
        until(lambda: server.count("unirouter_pool_revision") == 1)
        assert route(server, prompts=PROMPTS[:1])["routes"][0]["llm"] == "tomorrow"
        router.pool = router.pool.without_llm("tomorrow")
        router.save_pool("remove it")
        until(lambda: server.count("unirouter_pool_revision") == 2)
        assert "tomorrow" not in route(server, prompts=PROMPTS[:1])["routes"][0]["cost"]
    finally:
        stop.set()
        asking.join()
    assert not failures


def test_damaged_revision_leaves_the_pool_as_it_was(server: Served, folder: Path) -> None:
    before = route(server, prompts=PROMPTS)
    (folder / "pool" / "000001.safetensors").write_bytes(b"nonsense")
    until(lambda: server.count("unirouter_reload_errors_total") == 1)
    time.sleep(0.1)
    assert server.count("unirouter_reload_errors_total") == 1, "it is tried once"
    assert route(server, prompts=PROMPTS) == before


def test_llm_whose_latency_is_unknown_is_not_taken_over_where_latency_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "FOLLOW_SECONDS", 0.02)
    router = Router.from_pretrained(folder)
    for llm in router.pool.names:
        router.pool = router.pool.with_changes(llm, latency=Latency(seconds=1.0))
    router.save_pool("latencies")
    with served(folder, defaults={"latency_weight": 0.1}) as server:
        before = route(server, prompts=PROMPTS)
        router.add_llm("tomorrow", dict.fromkeys(router.calibration.prompt_ids, 1.0), cost=0.0)
        router.save_pool("add tomorrow")
        until(lambda: server.count("unirouter_reload_errors_total") == 1)
        assert route(server, prompts=PROMPTS) == before
        router.pool = router.pool.with_changes("tomorrow", latency=Latency(seconds=1.0))
        router.save_pool("its latency")
        until(lambda: "tomorrow" in route(server, prompts=PROMPTS)["routes"][0]["cost"])


def test_upstream_of_a_new_llm_is_taken_over(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FOLLOW_SECONDS", 0.02)
    with endpoint_on_loopback() as endpoint:
        file = write_upstreams(tmp_path / "u.yaml", {"small": endpoint.url})
        with served(folder, file) as server:
            names = lambda: [one["id"] for one in server.http.get("/v1/models").json()["data"]]  # noqa: E731
            assert names() == ["unirouter", "small"]
            file.write_text("small: [")
            until(lambda: server.count("unirouter_reload_errors_total") == 1)
            assert names() == ["unirouter", "small"]
            write_upstreams(file, {"small": endpoint.url, "large": endpoint.url})
            until(lambda: names() == ["unirouter", "small", "large"])


def test_pool_of_none_that_can_be_asked_is_refused(folder: Path, tmp_path: Path) -> None:
    router = Router.from_pretrained(folder)
    file = write_upstreams(tmp_path / "u.yaml", {"Small": "http://127.0.0.1:9/v1"})
    with pytest.raises(PoolError, match="names no LLM of the pool, which holds small, large, other"):
        LiveRouter(router, Metrics(), upstream_file=file)
    with pytest.raises(ConfigError, match="no such file"):
        LiveRouter(router, Metrics(), upstream_file=tmp_path / "none.yaml")
    with pytest.raises(PoolError, match="latency of 'small': not known"):
        LiveRouter(router, Metrics(), defaults=WeightedChoiceOptions(latency_weight=1.0))
    for wrong, message in (({"caution": 0.2}, "caution: got 0.2"), ({"llms": ["smal"]}, "no LLM named 'smal'")):
        with pytest.raises(PoolError, match=message):
            LiveRouter(router, Metrics(), defaults=WeightedChoiceOptions(**wrong))
    with pytest.raises(PoolError, match="pool: empty"):
        LiveRouter(Router.from_pretrained("unirouter-minilm"), Metrics())


def test_feedback_for_a_router_that_lies_nowhere_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="accept_feedback: the router lies in no folder"):
        serve(small_router(tmp_path), ServerSettings(port=0, accept_feedback=True), lambda *_: None)


def test_key_is_asked_for_everywhere_but_for_health(folder: Path) -> None:
    with served(folder, api_key="sk-made-up") as server:
        assert server.http.get("/health").json() == {"status": "ok", "llms": 3}
        for headers in ({}, {"authorization": "Bearer sk-other"}, {"authorization": "sk-made-up"}):
            for path in ("/metrics", "/v1/models", "/openapi.json"):
                response = server.http.get(path, headers=headers)
                assert response.status_code == 401
                assert response.json()["error"]["code"] == "invalid_api_key"
        server.http.headers["authorization"] = "Bearer sk-made-up"
        assert len(route(server, prompts=PROMPTS)["routes"]) == 3


def test_feedback_is_one_more_revision_and_tells_of_drift(folder: Path) -> None:
    expected = Router.from_pretrained(folder)
    with served(folder, accept_feedback=True) as server:
        outcomes = [{"llm": "large", "prompt": PROMPTS[n % 3], "score": 0.0} for n in range(60)]
        outcomes.insert(7, {"llm": "small", "prompt": PROMPTS[0], "score": 0.5})
        response = server.http.post("/v1/feedback", json={"outcomes": outcomes, "half_life": 30})
        assert response.status_code == 200
        large = expected.observe("large", [PROMPTS[n % 3] for n in range(60)], [0.0] * 60, half_life=30.0)
        small = expected.observe("small", PROMPTS[:1], [0.5], half_life=30.0)
        found = response.json()["drift"]
        assert found["large"] == {"outcomes": 60, "evidence": pytest.approx(large.most_evidence), "alarm": True}
        assert found["small"] == {"outcomes": 1, "evidence": pytest.approx(small.most_evidence), "alarm": False}
        assert server.count("unirouter_pool_revision") == 1, "it is in service at once"
        for one, route_of in zip(route(server, prompts=PROMPTS)["routes"], expected.route(PROMPTS), strict=True):
            torch.testing.assert_close(one["estimated_error"], route_of.estimated_error)
    (_, revision) = Router.from_pretrained(folder).pool_history()
    assert revision.change.what == "feedback: 61 outcomes of large, small"


def test_feedback_keeps_what_others_wrote_and_no_latency_in_a_saved_cost(folder: Path) -> None:
    router = Router.from_pretrained(folder)
    for llm in router.pool.names:
        router.pool = router.pool.with_changes(llm, latency=Latency(seconds=2.0))
    router.save_pool("latencies")
    with served(folder, accept_feedback=True, defaults={"latency_weight": 0.5}) as server:
        router.pool = router.pool.with_changes("large", cost=4.0)
        router.save_pool("reprice")
        outcome = {"llm": "small", "prompt": PROMPTS[0], "score": 1.0}
        for _ in range(2):
            assert server.http.post("/v1/feedback", json={"outcomes": [outcome]}).status_code == 200
        assert route(server, prompts=PROMPTS)["routes"][0]["cost"] == pytest.approx(
            {"small": 1.1, "large": 5.0, "other": 1.5}
        )
    saved = Router.from_pretrained(folder).pool
    assert saved.cost.tolist() == [0.1, 4.0, 0.5] and all(llm.latency for llm in saved.llms)
    assert saved["small"].drift.num_prompts == 2


@pytest.mark.parametrize(
    ("outcomes", "what"),
    [
        ([], "outcomes: "),
        ([{"llm": "small", "prompt": "a"}], "outcomes.0.score: "),
        ([{"llm": "small", "prompt": "a", "score": 1.5}], "outcomes.0.score: "),
        (
            [{"llm": "small", "prompt": "a", "score": 1}, {"llm": "smal", "prompt": "a", "score": 1}],
            "no LLM named 'smal'",
        ),
    ],
)
def test_mistaken_feedback_changes_nothing(folder: Path, outcomes: list[dict[str, Any]], what: str) -> None:
    with served(folder, accept_feedback=True) as server:
        before = route(server, prompts=PROMPTS)
        response = server.http.post("/v1/feedback", json={"outcomes": outcomes})
        assert response.status_code == 400 and what in response.json()["error"]["message"]
        assert route(server, prompts=PROMPTS) == before
    assert len(Router.from_pretrained(folder).pool_history()) == 1


def test_feedback_is_not_accepted_unasked(server: Served, folder: Path) -> None:
    outcome = {"llm": "small", "prompt": PROMPTS[0], "score": 1.0}
    assert server.http.post("/v1/feedback", json={"outcomes": [outcome]}).status_code == 404
    assert len(Router.from_pretrained(folder).pool_history()) == 1


def test_client_that_leaves_in_the_middle_of_its_request_is_no_failure_of_the_server(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with served(folder, write_upstreams(tmp_path / "u.yaml", {"small": "http://127.0.0.1:9/v1"})) as server:
        host, port = server.url.removeprefix("http://").split(":")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + b'Content-Length: 100\r\n\r\n{"model"')
        until(lambda: server.count('unirouter_requests_total{endpoint="/v1/chat/completions",status="499"}') == 1)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_overloaded_server_says_when_to_try_again(folder: Path) -> None:
    with served(folder, limits=BatchLimits(most_waiting=2)) as server:
        busy, go = threading.Event(), threading.Event()
        embed = server.live.router.encoder.embed

        def slow(texts: list[str]) -> Any:
            busy.set()
            go.wait(30)
            return embed(texts)

        server.live.router.encoder.embed = slow  # type: ignore[method-assign]
        first = threading.Thread(target=lambda: route(server, prompts=PROMPTS[:2]))
        first.start()
        assert busy.wait(10)
        refused = server.http.post("/v1/route", json={"prompts": PROMPTS[:1]})
        go.set()
        first.join()
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["error"]["code"] == "overloaded"
        assert route(server, prompts=PROMPTS)["routes"]


def test_failure_of_the_server_is_told_and_counted(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(server.live.router.encoder, "embed", lambda _: 1 / 0)
        response = server.http.post("/v1/route", json={"prompts": PROMPTS})
    assert response.status_code == 500
    assert response.json()["error"]["message"] == "The server failed; its log says why."
    assert server.count('unirouter_requests_total{endpoint="/v1/route",status="500"}') == 1
    assert route(server, prompts=PROMPTS)["routes"]


def test_counts_tell_what_was_done(server: Served) -> None:
    chosen = [one["llm"] for one in route(server, prompts=PROMPTS)["routes"]]
    for llm in set(chosen):
        assert server.count(f'unirouter_choices_total{{llm="{llm}"}}') == chosen.count(llm)
    assert server.count('unirouter_requests_total{endpoint="/v1/route",status="200"}') == 1
    for stage in ("queue", "encode", "decide"):
        assert server.count(f'unirouter_stage_seconds_count{{stage="{stage}"}}') == 1
    assert server.count("unirouter_batch_prompts_sum") == 3
    assert server.count("unirouter_waiting_prompts") == 0
    assert server.http.get("/metrics").headers["content-type"].startswith("text/plain; version=")


def test_answer_does_not_wait_for_an_acknowledgement_of_its_first_part() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_description_of_the_interface_is_served(server: Served) -> None:
    found = server.http.get("/openapi.json").json()
    assert {"/v1/route", "/v1/chat/completions", "/v1/models", "/health", "/metrics"} <= set(found["paths"])


def test_what_is_routed_and_told_is_logged_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    log = TrafficLog(tmp_path / "log")
    with served(folder, accept_feedback=True, log=log) as server:
        (chosen,) = route(server, prompts=PROMPTS[:1])["routes"]
        outcome = {"llm": chosen["llm"], "prompt": PROMPTS[0], "score": 1.0}
        assert server.http.post("/v1/feedback", json={"outcomes": [outcome]}).status_code == 200
    (file,) = (tmp_path / "log").iterdir()
    routed, told = map(json.loads, file.read_text("utf-8").splitlines())
    assert (routed["event"], routed["prompt"], routed["llm"]) == ("route", PROMPTS[0], chosen["llm"])
    assert routed["estimated_error"] == chosen["estimated_error"] and "score" not in routed
    assert told["event"] == "feedback" and told.items() >= outcome.items()
