"""A second router beside the one in service, and the change from one to the other."""

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from misbehaving_endpoint import endpoint_on_loopback
from served_router import Served, saved_router, served, until, write_upstreams

from unirouter_torch.cli import main
from unirouter_torch.config.choice import WeightedChoiceOptions
from unirouter_torch.errors import ConfigError
from unirouter_torch.router.router import Router
from unirouter_torch.serving import app
from unirouter_torch.serving import trial as trial_module
from unirouter_torch.serving.batching import Batcher, BatchLimits
from unirouter_torch.serving.live_router import LiveRouter
from unirouter_torch.serving.metrics import Metrics
from unirouter_torch.serving.prompt_queue import Decision, Job, Options, PromptQueue
from unirouter_torch.serving.settings import ServerSettings
from unirouter_torch.serving.trial import Trial, TrialKind

PROMPTS = ["the otter sings", "a red kite over the harbour", "the clock"]
KEY = {"Authorization": "Bearer sesame"}


@pytest.fixture(scope="module")
def routers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two routers that never choose the same LLM: the second one holds ``large`` alone, the first one all others."""
    folder = tmp_path_factory.mktemp("routers")
    first = saved_router(folder)
    router = Router.from_pretrained(first)
    pool = router.pool
    router.pool = pool.select(["large"])
    with torch.no_grad():
        router.head.linear.weight.mul_(-1)
    router.save_pretrained(folder / "second")
    router = Router.from_pretrained(first)
    router.pool = pool.without_llm("large")
    router.save_pretrained(folder / "first")
    return folder / "first", folder / "second"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FOLLOW_SECONDS", 0.02)


def trial_of(
    folder: Path, kind: TrialKind, share: float = 0.0, upstream_file: Path | None = None
) -> Callable[[Metrics], Trial]:
    def make(metrics: Metrics) -> Trial:
        live = LiveRouter(Router.from_pretrained(folder), Metrics(), upstream_file=upstream_file)
        return Trial(kind, live, metrics, share)

    return make


@pytest.fixture
def server(routers: tuple[Path, Path]) -> Iterator[Served]:
    with served(routers[0], change_key="sesame", trial=trial_of(routers[1], "shadow")) as found:
        yield found


def choice(server: Served, **headers: str) -> str:
    response = server.http.post("/v1/route", json={"prompts": PROMPTS[:1]}, headers=headers)
    assert response.status_code == 200, response.text
    llm: str = response.json()["routes"][0]["llm"]
    return llm


def switch(server: Served, **asked: Any) -> dict[str, Any]:
    response = server.http.post("/v1/router", json=asked, headers=KEY)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def test_shadow_counts_both_and_decides_nothing(server: Served, routers: tuple[Path, Path]) -> None:
    response = server.http.post("/v1/route", json={"prompts": PROMPTS, "cost_weight": 0.3})
    routes = Router.from_pretrained(routers[0]).route(PROMPTS, 0.3)
    assert [one["llm"] for one in response.json()["routes"]] == [one.llm for one in routes]
    until(lambda: server.count('unirouter_trial_prompts_total{router="shadow"}') == 3)
    expected = {"serving": routes, "shadow": Router.from_pretrained(routers[1]).route(PROMPTS, 0.3)}
    for name, its in expected.items():
        cost, error = sum(one.cost[one.llm] for one in its), sum(one.estimated_error[one.llm] for one in its)
        assert server.count(f'unirouter_trial_prompts_total{{router="{name}"}}') == 3
        assert server.count(f'unirouter_trial_expected_cost_total{{router="{name}"}}') == pytest.approx(cost)
        assert server.count(f'unirouter_trial_expected_error_total{{router="{name}"}}') == pytest.approx(
            error, abs=1e-5
        )
    assert server.count("unirouter_trial_agreed_total") == 0
    # the choices of the shadow are nobody's traffic
    assert server.count('unirouter_choices_total{llm="large"}') == 0


def test_shadow_decides_later_and_for_many_at_a_time(
    routers: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "SHADOW_SECONDS", 0.0)
    router = Router.from_pretrained(routers[0])

    async def look_on() -> None:
        metrics = Metrics()
        trial = trial_of(routers[0], "shadow")(metrics)
        decision = Decision(routes=router.route(PROMPTS[:1]), chooser=router.chooser())
        for weight in [0.1] * 20 + [0.3]:
            trial.saw(PROMPTS[:1], WeightedChoiceOptions(cost_weight=weight), decision)
        assert "unirouter_trial_prompts_total{" not in metrics.text().decode()
        task = asyncio.create_task(trial.run())
        while 'unirouter_trial_prompts_total{router="shadow"} 21.0' not in metrics.text().decode():
            await asyncio.sleep(0.01)
        task.cancel()
        # 16 of one weight at most, the other 4 of it, and that of another weight
        assert "unirouter_batch_prompts_count 3.0" in trial.batcher._metrics.text().decode()

    asyncio.run(asyncio.wait_for(look_on(), 60))


def test_shadow_holds_a_bounded_number_of_prompts(routers: tuple[Path, Path]) -> None:
    metrics = Metrics()
    trial = trial_of(routers[0], "shadow")(metrics)
    router = Router.from_pretrained(routers[0])
    decision = Decision(routes=router.route(PROMPTS[:1]) * 1000, chooser=router.chooser())
    trial.saw(PROMPTS[:1] * 1000, WeightedChoiceOptions(), decision)
    trial.saw(PROMPTS[:1] * 25, WeightedChoiceOptions(), decision)
    trial.saw(["x" * 2**24], WeightedChoiceOptions(), decision)
    assert "unirouter_trial_skipped_total 26.0" in metrics.text().decode()


def test_shadow_of_the_same_router_agrees(routers: tuple[Path, Path]) -> None:
    with served(routers[0], trial=trial_of(routers[0], "shadow")) as server:
        server.http.post("/v1/route", json={"prompts": PROMPTS})
        until(lambda: server.count("unirouter_trial_agreed_total") == 3)


def test_what_a_shadow_cannot_route_is_counted_and_answered(server: Served) -> None:
    response = server.http.post("/v1/route", json={"prompts": PROMPTS, "llms": ["small"]})
    assert response.status_code == 200
    until(lambda: server.count("unirouter_trial_skipped_total") == 3)
    assert server.count('unirouter_trial_prompts_total{router="serving"}') == 0


def test_promotion_and_the_way_back(server: Served) -> None:
    before = server.http.get("/v1/router").json()
    assert before == {"router": "first", "before": None, "trial": {"kind": "shadow", "router": "second", "share": 0.0}}
    assert choice(server) != "large"
    assert switch(server) == {"router": "second", "before": "first", "trial": None}
    assert choice(server) == "large"
    assert server.http.get("/v1/pool").json()["llms"][0]["llm"] == "large"
    assert switch(server, back=True)["router"] == "first"
    assert choice(server) != "large"
    assert switch(server, back=True)["router"] == "second"
    assert server.count("unirouter_promotions_total") == 3


def test_promotion_needs_the_key_and_a_router(server: Served, tmp_path: Path) -> None:
    assert server.http.post("/v1/router", json={}).status_code == 403
    assert server.http.post("/v1/router", json={}, headers={"Authorization": "Bearer other"}).status_code == 403
    for asked in ({"back": True}, *({"router": one} for one in (str(tmp_path / "none"), "owner/name", "x" * 4000))):
        assert server.http.post("/v1/router", json=asked, headers=KEY).status_code == 400
    assert server.http.post("/v1/router", json={"router": str(tmp_path)}, headers=KEY).status_code == 400
    assert choice(server) != "large"


def test_without_a_key_for_changes_there_are_none(routers: tuple[Path, Path]) -> None:
    with served(routers[0]) as server:
        assert server.http.post("/v1/router", json={}).status_code == 405
        assert server.http.post("/v1/pool", json={"action": "undo"}).status_code == 405


def test_promotion_under_load_loses_no_request(routers: tuple[Path, Path]) -> None:
    limits = BatchLimits(most_together=2)
    with served(routers[0], change_key="sesame", limits=limits) as server, ThreadPoolExecutor(8) as clients:
        answered, is_over = threading.Semaphore(0), False

        def ask(_: int) -> tuple[int, set[bool]]:
            try:
                response = server.http.post("/v1/route", json={"prompts": PROMPTS})
            finally:
                answered.release()
            return response.status_code, {one["llm"] == "large" for one in response.json()["routes"]}

        def keep_switching() -> None:
            switch(server, router=str(routers[1]))
            while not is_over:
                # a request that takes two batches begins anew at each switch: some end between one and the next
                for _ in range(20):
                    answered.acquire()
                switch(server, back=True)

        switching = clients.submit(keep_switching)
        try:
            answers = list(clients.map(ask, range(200)))
        finally:
            is_over = True
            answered.release(20)
        switching.result()
        assert [status for status, _ in answers if status != 200] == []
        assert all(len(deciding) == 1 for _, deciding in answers)
        assert server.count("unirouter_promotions_total") >= 2


def test_request_that_is_half_embedded_begins_anew_with_another_router() -> None:
    async def take_twice() -> None:
        job = Job(
            prompts=PROMPTS,
            tokens=torch.ones(3),
            options=Options(),
            done=asyncio.get_running_loop().create_future(),
            since=0.0,
        )
        queue = PromptQueue(100)
        queue.add("client", job)
        assert queue.take(2, 1000) == {job: PROMPTS[:2]}
        job.parts.append(torch.ones(2, 3))
        job.num_done = 2
        queue.restart(5)
        assert job.parts == []
        assert queue.take(3, 15) == {job: PROMPTS}

    asyncio.run(take_twice())


def test_changed_link_is_followed_and_the_pool_stays_where_it_is(routers: tuple[Path, Path], tmp_path: Path) -> None:
    for folder in routers:
        shutil.copytree(folder, tmp_path / folder.name)
    link = tmp_path / "current"
    link.symlink_to("first")
    with served(link.resolve(), change_key="sesame", place=link) as server:
        (tmp_path / "next").symlink_to("second")
        (tmp_path / "next").replace(link)
        until(lambda: choice(server) == "large")
        (tmp_path / "next").symlink_to("nowhere")
        (tmp_path / "next").replace(link)
        (tmp_path / "nowhere").mkdir()
        until(lambda: server.count("unirouter_reload_errors_total") == 1)
        assert choice(server) == "large"
        reprice = {"action": "reprice", "llm": "large", "cost": 3.0}
        assert server.http.post("/v1/pool", json=reprice, headers=KEY).status_code == 200
    assert Router.from_pretrained(tmp_path / "second").pool["large"].cost == 3.0


def test_router_without_upstreams_is_not_taken(routers: tuple[Path, Path], tmp_path: Path) -> None:
    file = write_upstreams(tmp_path / "upstreams.yaml", {"small": "http://127.0.0.1:9/v1"})
    with served(routers[0], file, change_key="sesame") as server:
        response = server.http.post("/v1/router", json={"router": str(routers[1])}, headers=KEY)
        assert response.status_code == 400
        assert "names no LLM of the pool, which holds large" in response.text
        assert server.live.router.pool.names == ("small", "other")


def test_canary_takes_its_share_and_keeps_keys_together(routers: tuple[Path, Path]) -> None:
    with served(routers[0], change_key="sesame", trial=trial_of(routers[1], "canary", 0.25)) as server:
        chosen = {key: choice(server, **{"x-unirouter-session": f"user {key}"}) for key in range(60)}
        assert 5 <= sum(llm == "large" for llm in chosen.values()) <= 25
        for key in range(20):
            assert choice(server, **{"x-unirouter-session": f"user {key}"}) == chosen[key]
        without_key = [choice(server) == "large" for _ in range(20)]
        assert sum(without_key) == 5
        canary, serving = (
            server.count(f'unirouter_trial_prompts_total{{router="{name}"}}') for name in ("canary", "serving")
        )
        assert canary + serving == 100
        assert server.count('unirouter_choices_total{llm="large"}') == canary
        switch(server)
        assert choice(server) == "large"
        assert server.count('unirouter_trial_prompts_total{router="canary"}') == canary


def test_chats_of_a_user_go_to_one_router(routers: tuple[Path, Path], tmp_path: Path) -> None:
    with endpoint_on_loopback() as endpoint:
        file = write_upstreams(tmp_path / "upstreams.yaml", dict.fromkeys(("small", "other", "large"), endpoint.url))
        with served(routers[0], file, trial=trial_of(routers[1], "canary", 0.5, file)) as server:

            def chat(user: str) -> tuple[str, str]:
                messages = [{"role": "user", "content": "the clock"}]
                response = server.http.post(
                    "/v1/chat/completions", json={"model": "unirouter", "messages": messages, "user": user}
                )
                assert response.status_code == 200, response.text
                return response.headers["x-unirouter-router"], response.headers["x-unirouter-llm"]

            found = {user: chat(user) for user in "abcdefghij"}
            assert {router for router, _ in found.values()} == {"serving", "canary"}
            assert all((router == "canary") == (llm == "large") for router, llm in found.values())
            assert all(chat(user)[0] == found[user][0] for user in found)


def test_share_of_keys_is_that_asked_for(routers: tuple[Path, Path]) -> None:
    trial = trial_of(routers[1], "canary", 0.05)(Metrics())
    assert sum(trial.takes(f"key {number}") for number in range(10_000)) == pytest.approx(500, abs=100)
    assert sum(trial.takes(None) for _ in range(1000)) == pytest.approx(50, abs=1)


def test_shadow_yields_to_what_serves(routers: tuple[Path, Path]) -> None:
    router = Router.from_pretrained(routers[0])
    priority = lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())  # noqa: E731
    own = priority()
    for yields in (False, True):
        thread = Batcher(router, Metrics(), yields=yields)._thread
        assert thread.submit(priority).result() == (min(19, 10) if yields and own < 10 else own)
        thread.shutdown()


def test_settings_take_one_second_router() -> None:
    with pytest.raises(ConfigError, match="shadow, canary"):
        ServerSettings(shadow=Path("a"), canary=Path("b"))
    for share in (0.0, 1.0):
        with pytest.raises(ConfigError, match="share"):
            ServerSettings(canary=Path("b"), share=share)


def test_command_promotes(server: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ADMIN_KEY", "sesame")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ask = ["promote", "--server", server.url, "--key-env", "ADMIN_KEY"]
    assert main(ask) == 0
    assert choice(server) == "large"
    assert "second is in service, first was before" in capsys.readouterr().out
    assert main([*ask, "--back"]) == 0
    assert choice(server) != "large"
    assert main([*ask, "--router", "no/such/folder"]) == 2
    assert "is no folder of this machine" in capsys.readouterr().err
