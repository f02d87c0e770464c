import pytest
from hypothesis import given
from hypothesis import strategies as st

from unirouter_torch.errors import ConfigError
from unirouter_torch.messages import (
    answer_text,
    check_conversation_rule,
    content_text,
    conversation_prompt,
    final_answer,
    is_conversation,
    prompt_text,
    whole_characters,
)


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nPerhaps 9.\n</think>\n\n12",
        "<thinking>9?</thinking>12",
        "<Think budget='5'>9?</Think> 12",
        "<reasoning>9?</reasoning>\n12",
        "<seed:think>9?</seed:think>12",
        "[THINK]9?[/THINK]12",
        "< think >9?</ think >12",
        "&lt;think&gt;9?&lt;/think&gt;12",
        "<|thinking|>9?<|/thinking|>12",
        "<antThinking>9?</antThinking>12",
        "<internal_reasoning>9?</internal_reasoning>12",
        "<chain_of_thought>9?</chain_of_thought>12",
        "<details type='reasoning' done='true'><summary>Thought</summary>9?</details>12",
        "◁think▷9?◁/think▷12",
        "<|begin_of_thought|>9?<|end_of_thought|><|begin_of_solution|>12<|end_of_solution|>",
        "<|START_THINKING|>9?<|END_THINKING|><|START_RESPONSE|>12<|END_RESPONSE|>",
        "<|channel|>analysis<|message|>9?<|end|><|start|>assistant<|channel|>final<|message|>12<|return|>",
        "analysisMaybe 9.assistantfinal12",
        "<|channel>thought\n9?<channel|>12",
        "9, as the template opened the block.\n</think>\n12",
        "<think>9, or <think> 10?</think>12",
        "<think>9</think><think>10</think>12",
        "<think></think>12",
        "<think>9</think><answer>12</answer>",
        "<longcat_think>9?</longcat_think>12",
        "<mm:think>9?</mm:think>12",
        "<think/>12",
        "<think>9?</think><|begin_of_box|>12<|end_of_box|>",
        "<|inner_prefix|>9?<|inner_suffix|>12",
        "<start_working_out>9?<end_working_out><SOLUTION>12</SOLUTION>",
        "<REASONING>9?</REASONING><CONCLUSION>12</CONCLUSION>",
        "<thinking>9?<reflection>10?</reflection></thinking><final_answer>12</final_answer>",
    ],
)
def test_reasoning_is_taken_off(text: str) -> None:
    assert final_answer(text) == ("12", False)


@pytest.mark.parametrize(
    "text",
    [
        "<think>9 or 12",
        "[THINK] 12",
        "<think>9</think> so <think>12",
        "<|channel|>analysis<|message|>12",
        "Hm. <think>12",
    ],
)
def test_reasoning_that_is_cut_off_leaves_no_answer(text: str) -> None:
    assert final_answer(text) == ("", True)


@pytest.mark.parametrize(
    "text",
    [
        "12",
        "",
        " a < b > c ",
        "Between `<think>` and `</think>`.",
        "assistantfinal? No.",
        "<details>a</details> b",
        "<rethink>",
        "<a/>",
    ],
)
def test_text_without_marks_stays_as_it_is(text: str) -> None:
    assert final_answer(text) == (text, False)


@given(st.text(alphabet="a<>/think| \n"), st.text(alphabet="ab 1."))
def test_what_follows_the_last_closing_mark_is_the_answer(reasoning: str, answer: str) -> None:
    assert final_answer(f"<think>{reasoning}</think>{answer}").text == answer.strip()


def test_content_in_parts_gives_its_text_parts() -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "9?"}]},
        {"type": "text", "text": "1"},
        {"type": "image_url", "image_url": {}},
        {"type": "output_text", "text": "2"},
    ]
    assert (content_text(parts), answer_text(parts)) == ("1\n2", "12")
    assert content_text(None) == answer_text([]) == ""


def test_prompt_of_a_conversation_is_the_last_message_of_the_user() -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Add 1 and 2."}]},
        {"role": "assistant", "content": "3"},
    ]
    assert conversation_prompt(chat) == prompt_text(chat) == "Add 1 and 2."
    assert conversation_prompt(chat[:1]) == "Be brief."
    assert prompt_text('[{"role": "user", "content": "Add 1 and 2."}]') == "Add 1 and 2."


AGENT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": [{"type": "tool_use", "name": "add", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "two"}]}]},
    {"role": "user", "content": "three"},
    {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}, {"function": None}, 7]},
    {"role": "tool", "content": "four"},
]


@pytest.mark.parametrize(
    ("rule", "prompt"),
    [
        ("last_user", "three"),
        ("last_turns:1", "three\n\nlook {}\n\nfour"),
        ("last_turns:2", "two\n\nthree\n\nlook {}\n\nfour"),
        ("last_turns:9", 'Be brief.\n\none\n\nadd {"a": 1}\n\ntwo\n\nthree\n\nlook {}\n\nfour'),
        ("whole", 'Be brief.\n\none\n\nadd {"a": 1}\n\ntwo\n\nthree\n\nlook {}\n\nfour'),
    ],
)
def test_rule_says_which_messages_calls_and_results_count(rule: str, prompt: str) -> None:
    check_conversation_rule(rule, "rule")
    assert conversation_prompt(AGENT, rule) == prompt


@given(st.text(), st.sampled_from(["last_user", "last_turns:1", "last_turns:7", "whole"]))
def test_conversation_of_one_message_is_the_prompt_that_it_is_by_every_rule(text: str, rule: str) -> None:
    assert conversation_prompt([{"role": "user", "content": text}], rule) == text
    assert conversation_prompt([{"role": "system", "content": text}], rule) == text


@pytest.mark.parametrize("rule", ["", "last", "last_turns", "last_turns:0", "last_turns:-1", "whole:2", "LAST_USER"])
def test_unknown_rule_is_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match="expected last_user, whole, or last_turns:N"):
        check_conversation_rule(rule, "encoder.conversation")


def test_arguments_that_nest_too_deep_leave_the_name_of_the_call() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    message = {"role": "assistant", "content": [{"type": "tool_use", "name": "add", "input": deep}]}
    assert conversation_prompt([message], "whole") == "add"


@pytest.mark.parametrize("text", ["plain", "[1, 2]", '[{"role": ', '[{"content": "x"}]', "[]"])
def test_text_that_is_no_conversation_is_itself(text: str) -> None:
    assert prompt_text(text) == text


@pytest.mark.parametrize("value", [None, 1, {}, [], [1], [{"content": "x"}]])
def test_what_is_neither_text_nor_conversation_is_no_prompt(value: object) -> None:
    assert not is_conversation(value) and prompt_text(value) is None


@given(st.text(st.characters()))
def test_text_of_whole_characters_stays_as_it_is(text: str) -> None:
    assert whole_characters(text) == text


def test_half_an_emoji_is_replaced_and_a_whole_one_is_kept() -> None:
    assert whole_characters("a\ud83d b\ud83d\ude00 é") == "a� b😀 é"
