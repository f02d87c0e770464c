"""The callback inside LiteLLM's real proxy, as its page says, over upstreams on loopback."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest
import yaml
from misbehaving_endpoint import endpoint_on_loopback
from served_router import saved_router

from unirouter_torch.router.router import Router

COMMAND = Path(sys.executable).parent / "litellm"
if not COMMAND.exists() or importlib.util.find_spec("apscheduler") is None:
    pytest.skip("no proxy: litellm[proxy] is not installed here", allow_module_level=True)

PAGE = (Path(__file__).parents[3] / "docs" / "how_to" / "litellm.md").read_text()
PROMPT = "the otter sings"
START_SECONDS = 300


def code_of_page(kind: str) -> str:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)[0]


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[httpx2.Client]:
    """The proxy with the files of the page, at a cost weight of 5."""
    folder = saved_router(tmp_path)
    code = code_of_page("python").replace(
        '"runs/quickstart/router", cost_weight=0.1', f"{str(folder)!r}, cost_weight=5.0"
    )
    (tmp_path / "unirouter_callback.py").write_text(code)
    with ExitStack() as stack:
        config = yaml.safe_load(code_of_page("yaml"))
        for one, llm in zip(config["model_list"], ("small", "large"), strict=True):
            endpoint = stack.enter_context(endpoint_on_loopback())
            endpoint.answer = lambda message, llm=llm: f"{llm}: {message}"
            one["litellm_params"]["api_base"] = endpoint.url
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        own = {"LITELLM_MASTER_KEY": "sk-made-up", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [COMMAND, "--config", tmp_path / "config.yaml", "--host", "127.0.0.1", "--port", str(port)],
            cwd=tmp_path,
            env=os.environ | own,
            stdout=(tmp_path / "log").open("w"),
            stderr=subprocess.STDOUT,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        key = {"Authorization": "Bearer sk-made-up"}
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", headers=key, trust_env=False, timeout=120) as http:
            deadline = time.monotonic() + START_SECONDS
            while not is_there(http):
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.2)
            yield http


def is_there(http: httpx2.Client) -> bool:
    try:
        return http.get("/health/liveliness").status_code == 200
    except httpx2.HTTPError:
        return False


def test_chats_of_the_group_go_to_the_llm_that_the_router_chooses(proxy: httpx2.Client, tmp_path: Path) -> None:
    (chosen,) = Router.from_pretrained(tmp_path / "router").choose([PROMPT], 5.0, llms=["small", "large"])
    for _ in range(4):
        chat = {"model": "unirouter", "messages": [{"role": "user", "content": PROMPT}]}
        response = proxy.post("/v1/chat/completions", json=chat)
        assert response.status_code == 200, response.text
        assert response.json()["choices"][0]["message"]["content"].startswith(f"{chosen}:")
