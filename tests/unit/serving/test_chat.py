import json
from typing import Any

import pytest

from unirouter_torch.serving.chat import asked_cost_weight, read_chat
from unirouter_torch.serving.refusals import RefusedError


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "unirouter", "messages": [{"role": "user", "content": "hello"}]} | fields).encode()


def test_last_message_of_the_user_counts() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "second"},
        {"role": "assistant", "tool_calls": [{"id": "a"}], "content": None},
        {"role": "tool", "tool_call_id": "a", "content": "42"},
    ]
    assert read_chat(chat(messages=messages)).prompt == "second"


def test_text_parts_count_a_line_each() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "text", "text": "this?"},
    ]
    assert read_chat(chat(messages=[{"role": "user", "content": parts}])).prompt == "What is\nthis?"
    assert read_chat(chat(messages=[{"role": "user", "content": parts[1:2]}])).prompt == ""


def test_without_a_message_of_the_user_the_last_one_counts() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "developer", "content": "Sing."}]
    assert read_chat(chat(messages=messages)).prompt == "Sing."


def test_all_but_the_model_goes_on_as_it_came() -> None:
    body = chat(seed=2**70, temperature=0.1, stop=None, metadata={"naïve": "\ud83d", "b": [1, 2]}, unknown=True)
    sent = json.loads(read_chat(body).body_for("there/model"))
    assert sent == json.loads(body) | {"model": "there/model"}
    assert list(sent) == list(json.loads(body))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (chat(model=None), "model: expected"),
        (chat(model=""), "model: expected"),
        (chat(messages=[]), "messages: expected"),
        (chat(messages="hello"), "messages: expected"),
        (chat(messages=["hello"]), "messages: expected"),
    ],
)
def test_malformed_request_is_refused(body: bytes, what: str) -> None:
    with pytest.raises(RefusedError, match=what) as found:
        read_chat(body)
    assert found.value.status == 400


@pytest.mark.parametrize("content", [None, 7, [7, "text", {"type": "text"}, {"type": "text", "text": 3}]])
def test_content_without_text_is_an_empty_prompt(content: Any) -> None:
    assert read_chat(chat(messages=[{"role": "user", "content": content}])).prompt == ""


@pytest.mark.parametrize(
    ("model", "weight"),
    [("unirouter", None), ("unirouter-0", 0.0), ("unirouter-0.3", 0.3), ("unirouter-1e-2", 0.01), ("unirouter-5", 5.0)],
)
def test_name_of_the_router_holds_the_cost_weight(model: str, weight: float | None) -> None:
    assert asked_cost_weight(model) == weight


@pytest.mark.parametrize(
    "model", ["unirouter-", "unirouter--1", "unirouter-nan", "unirouter-1e999", "unirouter-mf-0.1"]
)
def test_other_names_of_the_router_are_unknown_models(model: str) -> None:
    with pytest.raises(RefusedError, match="names no cost weight") as found:
        asked_cost_weight(model)
    assert (found.value.status, found.value.code) == (404, "model_not_found")
