import json
from typing import Any

import pytest

from unirouter_torch.messages import prompt_text
from unirouter_torch.serving.chat import ResponsesFields, asked_cost_weight, read_chat
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


def test_fields_of_an_upstream_take_the_place_of_the_client_s() -> None:
    body = chat(reasoning_effort="high", seed=2**70)
    sent = json.loads(read_chat(body).body_for("there", {"reasoning_effort": "low", "max_completion_tokens": 9}))
    extra = {"reasoning_effort": "low", "max_completion_tokens": 9}
    assert sent == json.loads(body) | {"model": "there"} | extra


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


@pytest.mark.parametrize("content", [None, 7, [7, {"type": "text"}, {"type": "text", "text": 3}]])
def test_content_without_text_is_an_empty_prompt(content: Any) -> None:
    assert read_chat(chat(messages=[{"role": "user", "content": content}])).prompt == ""


@pytest.mark.parametrize("part", ["text", {"text": "text"}, {"type": "input_text", "text": "text"}])
def test_content_counts_as_in_a_log_that_a_router_is_trained_on(part: Any) -> None:
    messages = [{"role": "user", "content": [part]}]
    assert read_chat(chat(messages=messages)).prompt == prompt_text(messages) == "text"


def test_request_of_the_responses_api_is_read_by_the_same_rule() -> None:
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "How warm?"}]},
        {"type": "function_call", "name": "weather", "arguments": '{"place": "Oslo"}', "call_id": "a"},
        {"type": "function_call_output", "call_id": "a", "output": "9 degrees"},
    ]
    body = json.dumps({"model": "unirouter", "input": items, "instructions": "Be brief."}).encode()
    assert read_chat(body, kind=ResponsesFields).prompt == "How warm?"
    whole = 'Be brief.\n\nHow warm?\n\nweather {"place": "Oslo"}\n\n9 degrees'
    assert read_chat(body, "whole", ResponsesFields).prompt == whole
    text = read_chat(b'{"model": "m", "input": "Hi", "previous_response_id": "r"}', kind=ResponsesFields)
    assert (text.prompt, text.continues) == ("Hi", "r")
    for wrong in (b"[]", b"7", b'["a"]'):
        with pytest.raises(RefusedError, match="input: expected text, or a list of at least one item, got"):
            read_chat(b'{"model": "m", "input": %s}' % wrong, kind=ResponsesFields)


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
