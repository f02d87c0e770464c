"""The programs of the integrations page, with the real packages, on loopback; LiteLLM has a test of its own."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from doc_programs import programs_of
from miniature import ROOT
from misbehaving_endpoint import Endpoint, endpoint_on_loopback
from served_router import saved_router, served, write_upstreams
from test_scripts import Script, script  # noqa: F401

from unirouter_torch import Router

# what these packages warn of is not ours
pytestmark = pytest.mark.filterwarnings("ignore")

PAGE = "how_to/integrations.md"
PROMPT = "What is 17 + 25?"


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(package) is None, reason="the extra `integrations` is not installed")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a router where the page has one."""
    saved_router(tmp_path)
    (tmp_path / "runs" / "quickstart").mkdir(parents=True)
    (tmp_path / "router").rename(tmp_path / "runs" / "quickstart" / "router")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def upstream() -> Iterator[Endpoint]:
    with endpoint_on_loopback() as endpoint:
        yield endpoint


def run(text: str, found: dict[str, Any], **replaced: str) -> dict[str, Any]:
    (program,) = programs_of(PAGE, with_text=text)
    for address, real in replaced.items():
        assert f"127.0.0.1:{address[4:]}" in program
        program = program.replace(f"http://127.0.0.1:{address[4:]}/v1", real)
    exec(program, found)
    return found


@needs("langchain_openai")
def test_langchain_chats_with_a_served_router(home: Path, upstream: Endpoint, capsys: Any) -> None:
    upstreams = write_upstreams(home / "up.yaml", dict.fromkeys(("small", "large"), upstream.url))
    with served(home / "runs" / "quickstart" / "router", upstreams) as server:
        found = run("chat.invoke", {}, port8080=f"{server.url}/v1")
        assert capsys.readouterr().out == f"echo: {PROMPT}\n"
        upstream.default = "stream"
        pieces = [piece.content for piece in found["chat"].stream(PROMPT)]
    assert "".join(pieces) == "echo: naïve otter"
    chosen = server.live.router.choose([PROMPT], 0.1, llms=["small", "large"])
    assert [request["model"] for request in upstream.requests] == chosen * 2


@needs("langchain_openai")
def test_runnable_asks_the_llm_that_the_router_chooses(home: Path, upstream: Endpoint, capsys: Any) -> None:
    from langchain_openai import ChatOpenAI

    found = run("RouterRunnable", {"ChatOpenAI": ChatOpenAI}, port8000=upstream.url)
    assert capsys.readouterr().out == f"echo: {PROMPT}\n"
    answers = found["chain"].batch([PROMPT, "the otter sings"])
    assert [answer.content for answer in answers] == [f"echo: {PROMPT}", "echo: the otter sings"]
    asked = {request["messages"][0]["content"]: request["model"] for request in upstream.requests}
    assert list(asked.values()) == found["router"].choose(list(asked), 0.1)


@needs("mlflow")
def test_mlflow_logs_and_loads_a_router(home: Path) -> None:
    found = run("mlflow", {})
    routes = Router.from_pretrained(home / "runs" / "quickstart" / "router").route([PROMPT, "red"], 0.5)
    assert found["model"].predict([PROMPT, "red"], params={"cost_weight": 0.5}) == [
        {"llm": route.llm, "estimated_error": route.estimated_error[route.llm], "cost": route.cost[route.llm]}
        for route in routes
    ]
    assert not list(home.rglob("*.pkl"))


def test_lightnings_own_trainer_trains_a_router(script: Script, tmp_path: Path) -> None:  # noqa: F811
    result = script("examples/own_training_loop.py", "simulated:200x8", "--steps", "20", "--output", "out")
    assert result.returncode == 0, result.stderr
    head = Router.from_pretrained(tmp_path / "out" / "router").head
    assert len(list((tmp_path / "out").glob("best*.ckpt"))) == 1
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] and head.num_clusters == 20
