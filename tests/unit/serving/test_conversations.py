"""The same conversation is the same prompt in a table, in an archive and over HTTP; sessions stay with their LLM."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from misbehaving_endpoint import Endpoint, endpoint_on_loopback
from served_router import Served, served, write_upstreams
from small_router import small_router
from tiny_encoder import save_bert, save_static

from unirouter_torch.archives.score import score_archive
from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.data.load import load_table
from unirouter_torch.errors import ArtifactError
from unirouter_torch.router.router import Router
from unirouter_torch.serving import sessions
from unirouter_torch.serving.sessions import LEAST_GAIN, Sessions
from unirouter_torch.storage import MANIFEST_NAME, sha256_of_file

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "the otter sings"}, "a kite"]},
    {"role": "assistant", "content": "seven \ud83d harbour"},
    {"role": "user", "content": "why does the clock in the harbour sing " * 8},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "function": {"name": "clock", "arguments": "red kites"}}],
    },
    {"role": "tool", "tool_call_id": "a", "content": "otter"},
]
READINGS = [("last_user", "head"), ("last_turns:1", "tail"), ("last_turns:2", "head_and_tail"), ("whole", "head")]


def saved(folder: Path, conversation: str, keep: str) -> Path:
    router = small_router(folder)
    router.encoder.recipe = dataclasses.replace(router.encoder.recipe, conversation=conversation, keep=keep)
    router.save_pretrained(folder / "router")
    return folder / "router"


@pytest.mark.parametrize(("conversation", "keep"), READINGS)
def test_same_conversation_is_the_same_prompt_everywhere(tmp_path: Path, conversation: str, keep: str) -> None:
    folder = saved(tmp_path, conversation, keep)
    router = Router.from_pretrained(folder)
    assert (router.encoder.recipe.conversation, router.encoder.recipe.keep) == (conversation, keep)
    expected, (text,) = router.estimate_error([CHAT])[0], router.texts([CHAT])

    log = [{"prompt": CHAT, "llm": llm, "score": 1.0} for llm in ("small", "large")]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, log)))
    table = load_table(str(tmp_path / "log.jsonl"), cost_rule="equal", conversation=conversation)
    assert table.prompt_texts == [text]
    torch.testing.assert_close(router.estimate_error(table.prompt_texts)[0], expected, rtol=0, atol=0)

    pq.write_table(pa.table({"prompt": [json.dumps(CHAT)]}), tmp_path / "archive.parquet")
    score_archive(router, str(tmp_path / "archive.parquet"), tmp_path / "out", ScoreSettings(all_estimates=True))
    found = pq.read_table(tmp_path / "out" / "archive.parquet")["estimated_errors"].to_pylist()
    torch.testing.assert_close(torch.tensor(found[0]), expected, rtol=0, atol=1e-6)

    with served(folder) as server:
        body = json.dumps({"prompts": [CHAT, json.dumps(CHAT), text]}).encode()
        answer = server.http.post("/v1/route", content=body, headers={"content-type": "application/json"})
        for route in answer.json()["routes"]:
            torch.testing.assert_close(
                torch.tensor(list(route["estimated_error"].values())), expected, atol=1e-5, rtol=0
            )


def test_rules_and_ends_give_different_prompts_so_that_parity_says_something(tmp_path: Path) -> None:
    estimates = []
    for number, (conversation, keep) in enumerate(READINGS):
        router = Router.from_pretrained(saved(tmp_path / str(number), conversation, keep))
        estimates.append(router.estimate_error([CHAT])[0])
    assert all((one - other).abs().max() > 1e-4 for n, one in enumerate(estimates) for other in estimates[:n])


def test_router_saved_before_the_setting_reads_as_before(tmp_path: Path) -> None:
    recipe = Router.from_pretrained(saved(tmp_path, "last_user", "head")).encoder.recipe
    assert "keep" not in recipe.facts() and "conversation" not in recipe.facts()
    old = tmp_path / "old"
    shutil.copytree(tmp_path / "router", old)
    content = json.loads((old / "router.json").read_text())
    del content["reading"]
    (old / "router.json").write_text(json.dumps(content))
    manifest = json.loads((old / MANIFEST_NAME).read_text())
    manifest["sha256"]["router.json"] = sha256_of_file(old / "router.json")
    (old / MANIFEST_NAME).write_text(json.dumps(manifest))
    router = Router.from_pretrained(old)
    assert router.encoder.recipe == recipe and router.texts([CHAT]) == [CHAT[3]["content"]]


@pytest.mark.parametrize("save_encoder", [save_bert, save_static])
@pytest.mark.parametrize("with_encoder", [True, False])
def test_router_reads_what_it_was_trained_to_read_wherever_its_encoder_is(
    tmp_path: Path, save_encoder: Callable[..., Path], with_encoder: bool
) -> None:
    router = small_router(tmp_path, save_encoder=save_encoder)
    router.encoder.recipe = dataclasses.replace(router.encoder.recipe, max_length=9, keep="tail")
    router.save_pretrained(tmp_path / "router", with_encoder=with_encoder)
    loaded = Router.from_pretrained(tmp_path / "router")
    assert loaded.encoder.recipe == router.encoder.recipe
    assert torch.equal(
        loaded.estimate_error(["otter " * 9 + "a kite"]), router.estimate_error(["otter " * 9 + "a kite"])
    )


@pytest.mark.parametrize("reading", [{"conversation": "all"}, {"max_length": 10**6}])
def test_reading_that_cannot_be_is_refused_in_one_line(tmp_path: Path, reading: dict[str, Any]) -> None:
    router = small_router(tmp_path)
    router.encoder.recipe = dataclasses.replace(router.encoder.recipe, **reading)
    router.save_pretrained(tmp_path / "router")
    with pytest.raises(ArtifactError, match=next(iter(reading))):
        Router.from_pretrained(tmp_path / "router")


# sessions


@pytest.fixture
def upstreams() -> Iterator[dict[str, Endpoint]]:
    with ExitStack() as stack:
        yield {llm: stack.enter_context(endpoint_on_loopback()) for llm in ("small", "large", "other")}


@pytest.fixture
def server(upstreams: dict[str, Endpoint], tmp_path: Path) -> Iterator[Served]:
    file = write_upstreams(tmp_path / "upstreams.yaml", {llm: its.url for llm, its in upstreams.items()})
    with served(saved(tmp_path, "last_user", "head"), file) as found:
        yield found


def ask(server: Served, session: str | None, weight: float, text: str = "the otter sings", **fields: Any) -> str:
    body = {"model": f"unirouter-{weight:g}", "messages": [{"role": "user", "content": text}]} | fields
    headers = {} if session is None else {"x-unirouter-session": session}
    response = server.http.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.headers["x-unirouter-llm"]


def test_session_stays_with_its_llm_where_others_would_be_asked_anew(server: Served) -> None:
    first, cheap = ask(server, "a", 0.0), ask(server, None, 5.0)
    assert first != cheap
    assert ask(server, "a", 5.0) == first
    assert ask(server, "b", 5.0) == cheap


def test_session_moves_where_its_llm_fails_or_is_too_small_for_the_conversation(
    server: Served, upstreams: dict[str, Endpoint]
) -> None:
    first = ask(server, "a", 0.0)
    router = server.live.router
    router.pool = router.pool.with_changes(first, context_tokens=50)
    assert ask(server, "a", 5.0) == first
    earlier, question = {"role": "user", "content": "otter " * 100}, {"role": "user", "content": "the otter sings"}
    assert ask(server, "b", 0.0, messages=[earlier, question]) != first
    assert ask(server, "a", 5.0, messages=[earlier, question]) != first
    assert ask(server, "c", 0.0) == first
    upstreams[first].default = "500"
    assert ask(server, "c", 0.0) != first


def test_session_moves_where_another_llm_is_expected_to_err_much_less() -> None:
    found = Sessions()
    found.answered("a", "own")
    for gain, order in ((LEAST_GAIN - 0.01, ["own", "best"]), (LEAST_GAIN + 0.01, ["best", "own"])):
        assert found.order("a", ["best", "own"], {"own": 0.2 + gain, "best": 0.2}) == order
    assert found.order("a", ["best"], {"own": 0.1, "best": 0.2}) == ["best"]
    assert found.order(None, ["best", "own"], {"own": 0.2, "best": 0.2}) == ["best", "own"]


def test_remembered_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 2)
    found = Sessions()
    for name in ("a", "b", "a", "c"):
        found.answered(name, f"llm of {name}")
    assert [found.llm_of(name) for name in ("a", "b", "c")] == ["llm of a", None, "llm of c"]


def test_name_of_a_session_is_bounded(server: Served) -> None:
    response = server.http.post(
        "/v1/chat/completions",
        json={"model": "unirouter", "messages": [{"role": "user", "content": "a"}]},
        headers={"x-unirouter-session": "s" * 201},
    )
    assert response.status_code == 400 and response.json()["error"]["param"] == "x-unirouter-session"
