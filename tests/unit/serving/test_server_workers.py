"""Two workers on one address: one pool, feedback without loss, counts that add up, those of a shadow among them."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
from served_router import saved_router, serve_process, until

from unirouter_torch.router.router import Router

NUM_REQUESTS = 12


def test_workers_share_one_pool_and_lose_no_feedback_and_no_count(tmp_path: Path) -> None:
    folder = saved_router(tmp_path)
    options = ("--router", str(folder), "--shadow", str(folder), "--workers", "2", "--accept-feedback")
    with serve_process(*options) as (process, address):

        def post(path: str, body: object) -> httpx2.Response:
            # a connection of its own, so that any worker may take it
            return httpx2.post(f"{address}{path}", json=body, timeout=120, trust_env=False)

        def counted(sample: str) -> float:
            lines = httpx2.get(f"{address}/metrics", timeout=120, trust_env=False).text.splitlines()
            return next((float(line.removeprefix(sample)) for line in lines if line.startswith(f"{sample} ")), 0.0)

        def feedback(number: int) -> int:
            outcome = {"llm": "small", "prompt": f"the otter {number}", "score": number % 2}
            return post("/v1/feedback", {"outcomes": [outcome]}).status_code

        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(feedback, range(NUM_REQUESTS))) == {200}
            routed = clients.map(lambda _: post("/v1/route", {"prompts": ["a", "b"]}).status_code, range(NUM_REQUESTS))
            assert set(routed) == {200}
        router = Router.from_pretrained(folder)
        test = router.pool["small"].drift
        assert test is not None and test.num_prompts == NUM_REQUESTS
        assert len(router.pool_history()) == NUM_REQUESTS + 1
        assert counted('unirouter_requests_total{endpoint="/v1/feedback",status="200"}') == NUM_REQUESTS
        assert counted('unirouter_requests_total{endpoint="/v1/route",status="200"}') == NUM_REQUESTS
        assert counted("unirouter_batch_prompts_sum") == 2 * NUM_REQUESTS
        for name in ("serving", "shadow"):
            until(lambda name=name: counted(f'unirouter_trial_prompts_total{{router="{name}"}}') == 2 * NUM_REQUESTS)
        # the lowest revision over the workers: all have taken over all
        until(lambda: counted("unirouter_pool_revision") == NUM_REQUESTS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 143
