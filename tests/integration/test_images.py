"""The images and what is composed of them: no daemon is needed, their commands run outside a container."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from miniature import ROOT
from served_router import served, write_upstreams

IMAGES = [ROOT / "Dockerfile", ROOT / "Dockerfile.train"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DEMO = ROOT / "examples" / "compose"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def healthcheck(url: str) -> "subprocess.CompletedProcess[str]":
    """The command of the image, asked of another address."""
    (command,) = re.findall(r"^HEALTHCHECK .*\n +CMD (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    words = [word.replace("http://127.0.0.1:8080", url) for word in json.loads(command)]
    return subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_an_image_does_not_run_as_root_and_starts_the_command(image: Path) -> None:
    text = image.read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "1000"
    assert json.loads(re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[-1]) == ["unirouter"]
    assert "constraints.txt" in text


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(image: Path) -> None:
    found = subprocess.run(["hadolint", str(image)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_what_is_copied_is_what_the_package_is_built_from() -> None:
    kept = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert {"unirouter_torch", "configs", "pyproject.toml", "README.md", "LICENSE"} <= set(kept)
    assert [name for name in kept if not (ROOT / name).exists()] == []


def test_files_and_addresses_that_compose_names_exist() -> None:
    for service in COMPOSE["services"].values():
        for source in (volume.split(":")[0] for volume in service.get("volumes", [])):
            assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    (job,) = yaml.safe_load((DEMO / "prometheus.yml").read_text())["scrape_configs"]
    upstreams = yaml.safe_load((DEMO / "upstreams.yaml").read_text()).values()
    addresses = [*job["static_configs"][0]["targets"], *(upstream["base_url"][7:] for upstream in upstreams)]
    assert {address.partition(":")[0] for address in addresses} <= COMPOSE["services"].keys()


def test_the_composed_router_chats_and_counts_what_the_board_shows(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(DEMO / "make_router.py"), str(tmp_path / "router")], check=True)
    port, chat = free_port(), {"messages": [{"role": "user", "content": "Which river has 3 bridges?"}]}
    upstreams = write_upstreams(tmp_path / "up.yaml", dict.fromkeys(("small", "large"), f"http://127.0.0.1:{port}/v1"))
    with subprocess.Popen([sys.executable, str(DEMO / "stand_in_llm.py"), str(port)], stdout=subprocess.PIPE) as llm:
        assert llm.stdout is not None and llm.stdout.readline()
        try:
            with served(tmp_path / "router", upstreams) as server:
                answer = server.http.post("/v1/chat/completions", json=chat | {"model": "unirouter-0.5"}).json()
                streamed = chat | {"model": "unirouter-0.5", "stream": True}
                with server.http.stream("POST", "/v1/chat/completions", json=streamed) as stream:
                    pieces = b"".join(stream.iter_bytes())
                health, counted = healthcheck(server.url), server.http.get("/metrics").text
        finally:
            llm.terminate()
    assert answer["choices"][0]["message"]["content"] == "small heard: Which river has 3 bridges?"
    assert b"small heard" in pieces and pieces.endswith(b"data: [DONE]\n\n")
    assert health.returncode == 0, health.stderr
    board = json.loads((DEMO / "grafana" / "unirouter.json").read_text())
    shown = {name for panel in board["panels"] for name in re.findall(r"unirouter_\w+", panel["targets"][0]["expr"])}
    families = set(re.findall(r"^# TYPE (\w+) ", counted, re.MULTILINE))
    assert {name.removesuffix("_bucket") for name in shown} <= families


def test_the_healthcheck_fails_without_a_server() -> None:
    assert healthcheck(f"http://127.0.0.1:{free_port()}").returncode != 0
