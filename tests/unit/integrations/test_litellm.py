"""A saved router inside LiteLLM's own Router, over upstreams on loopback; the config is that of the docs."""

import asyncio
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from misbehaving_endpoint import Endpoint, endpoint_on_loopback
from served_router import saved_router

from unirouter_torch.router.router import Router

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    litellm = pytest.importorskip("litellm", reason="the extra `litellm` is not installed")
    from unirouter_torch.integrations.litellm import UniRouterCallback

# what LiteLLM itself warns of is not ours
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = (Path(__file__).parents[3] / "docs" / "how_to" / "litellm.md").read_text()
PROMPT = "the otter sings"


@pytest.fixture
def upstreams() -> Iterator[dict[str, Endpoint]]:
    with ExitStack() as stack:
        found = {llm: stack.enter_context(endpoint_on_loopback()) for llm in ("small", "large")}
        for llm, endpoint in found.items():
            endpoint.answer = lambda message, llm=llm: f"{llm}: {message}"
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved_router(tmp_path)


def deployments(upstreams: dict[str, Endpoint]) -> list[dict[str, Any]]:
    """Those of the page, at upstreams on loopback."""
    (config,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    found: list[dict[str, Any]] = yaml.safe_load(config)["model_list"]
    for one, endpoint in zip(found, upstreams.values(), strict=True):
        one["litellm_params"]["api_base"] = endpoint.url
    return found


def ask(callback: Any, model_list: list[dict[str, Any]], model: str = "unirouter", times: int = 1) -> list[str]:
    async def all_answers() -> list[str]:
        router = litellm.Router(model_list=model_list, num_retries=2, cooldown_time=60, allowed_fails=0)
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": PROMPT}]
        return [
            (await router.acompletion(model=model, messages=messages)).choices[0].message.content for _ in range(times)
        ]

    before, litellm.callbacks = litellm.callbacks, [callback]
    try:
        return asyncio.run(all_answers())
    finally:
        litellm.callbacks = before


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_group_is_narrowed_to_the_llm_that_the_router_chooses(
    folder: Path, upstreams: dict[str, Endpoint], weight: float
) -> None:
    chosen = Router.from_pretrained(folder).choose([PROMPT], weight, llms=["small", "large"])[0]
    answers = ask(UniRouterCallback(folder, cost_weight=weight), deployments(upstreams), times=4)
    assert {answer.partition(":")[0] for answer in answers} == {chosen}


def test_weights_of_these_tests_choose_different_llms(folder: Path) -> None:
    router = Router.from_pretrained(folder)
    assert router.choose([PROMPT], 0.0, llms=["small", "large"]) != router.choose(
        [PROMPT], 5.0, llms=["small", "large"]
    )


def test_next_best_llm_answers_for_one_that_fails(folder: Path, upstreams: dict[str, Endpoint]) -> None:
    best = Router.from_pretrained(folder).choose([PROMPT], 0.0, llms=["small", "large"])[0]
    upstreams[best].default = "500"
    (answer,) = ask(UniRouterCallback(folder, cost_weight=0.0), deployments(upstreams))
    assert answer.partition(":")[0] != best


def test_other_groups_and_unknown_deployments_are_left_alone(folder: Path) -> None:
    callback = UniRouterCallback(folder)
    unknown = [{"model_name": "unirouter", "litellm_params": {"model": "openai/gpt-9"}, "model_info": {"id": "1"}}]
    messages = [{"role": "user", "content": PROMPT}]

    def kept(model: str, messages: Any) -> list[Any]:
        return asyncio.run(callback.async_filter_deployments(model, unknown, messages))

    assert kept("unirouter", messages) == kept("other", messages) == kept("unirouter", None) == unknown


def test_change_of_the_pool_takes_effect_at_the_next_request(folder: Path) -> None:
    callback = UniRouterCallback(folder, cost_weight=5.0)
    group = [{"litellm_params": {"model": f"openai/{llm}"}} for llm in ("small", "large")]
    messages = [{"role": "user", "content": PROMPT}]

    def chosen() -> list[str]:
        found = asyncio.run(callback.async_filter_deployments("unirouter", group, messages))
        return [one["litellm_params"]["model"] for one in found]

    assert chosen() == ["openai/small"]
    router = Router.from_pretrained(folder)
    router.pool = router.pool.with_changes("small", is_available=False)
    router.save_pool("disable small")
    assert chosen() == ["openai/large"]
