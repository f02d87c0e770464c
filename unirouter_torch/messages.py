"""Texts of chats: the prompt of a conversation, and the answer of an LLM without the reasoning that precedes it."""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

_TAG = (
    r"(?:antml:|seed:|ant_?|internal_|inner_)?(?:think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|monologue"
    r"|analysis|chain_of_thought|cot)(?:_process)?"
)
_FOLDED = r"<details\s+type=[\"']reasoning[\"'][^<>]*>"
# What LLMs of several vendors put around their reasoning; a mark behind a backtick is quoted text.
_OPENING = (
    rf"(?<!`)(?:<|&lt;)\s*{_TAG}(?:\s[^<>]*?)?\s*(?:>|&gt;)",
    rf"<\|{_TAG}\|>",
    _FOLDED,
    r"\[THINK\]",
    r"◁think▷",
    r"<\|begin_of_thought\|>",
    r"<\|START_THINKING\|>",
    r"<\|channel\|>(?:analysis|commentary)\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
    r"\Aanalysis(?=.*assistantfinal)",
    r"<\|channel>thought",
    r"<unused94>(?:thought)?",
)
_CLOSING = (
    rf"(?<!`)(?:<|&lt;)\s*/\s*{_TAG}\s*(?:>|&gt;)",
    rf"<\|/{_TAG}\|>",
    r"\[/THINK\]",
    r"◁/think▷",
    r"<\|end_of_thought\|>",
    r"<\|END_THINKING\|>",
    r"<\|channel\|>final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
    r"assistantfinal",
    r"<channel\|>",
    r"<unused95>",
)
_FLAGS = re.IGNORECASE | re.DOTALL
_MARK = re.compile(rf"(?P<opening>{'|'.join(_OPENING)})|(?P<closing>{'|'.join(_CLOSING)})", _FLAGS)
_FOLDED_BLOCK = re.compile(rf"{_FOLDED}(.*?)</details>", _FLAGS)  # </details> alone closes anything that folds
_WRAPPER = re.compile(
    r"\A<(answer|response|solution|output)>(?P<a>.*?)(?:</\1>)?\Z"
    r"|\A<\|(?:begin_of_solution|START_RESPONSE)\|>(?P<b>.*?)(?:<\|(?:end_of_solution|END_RESPONSE)\|>)?\Z",
    _FLAGS,
)
_END_OF_TURN = re.compile(r"(?:<\|(?:return|end|im_end|eot_id|endoftext)\|>\s*)+\Z")


class FinalAnswer(NamedTuple):
    """What an LLM answered once its reasoning is taken off.

    Attributes:
        text: The answer; empty where there is none.
        is_cut_off: Whether the text ends within the reasoning, so that there is no answer.
    """

    text: str
    is_cut_off: bool


def final_answer(text: str) -> FinalAnswer:
    """An answer without its blocks of reasoning, such as ``<think>...</think>``.

    A closed block is removed wherever it is. A closing mark without an opening one ends a reasoning whose opening mark
    the chat template put into the prompt. A block that is never closed was cut off: then there is no answer. Where all
    that is left is in ``<answer>`` or the like, that mark is removed, too. Text without marks comes back as it is.
    """
    text = _FOLDED_BLOCK.sub(r"<think>\1</think>", text)
    kept: list[str] = []
    begin, is_inside, is_marked = 0, False, False
    for mark in _MARK.finditer(text):
        if mark.lastgroup == "opening":
            if not is_inside:
                kept.append(text[begin : mark.start()])
            is_inside = is_marked = True
        elif is_inside or mark[0] != "assistantfinal":
            if not is_inside:
                kept.clear()
            begin, is_inside, is_marked = mark.end(), False, True
    if is_inside:
        return FinalAnswer("", True)
    if not is_marked:
        return FinalAnswer(text, False)
    answer = _END_OF_TURN.sub("", "".join([*kept, text[begin:]]).strip()).strip()
    wrapped = _WRAPPER.match(answer)
    return FinalAnswer(answer if wrapped is None else (wrapped["a"] or wrapped["b"] or "").strip(), False)


def content_text(content: Any, *, between: str = "\n") -> str:
    """The text of a message's content: itself, or that of its text parts; empty where there is none.

    Parts that are reasoning, images, calls of tools and the like are left out.
    """
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else [content]
    return between.join(text for part in parts if (text := _part_text(part)))


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or part.get("type") not in (None, "text", "output_text", "input_text"):
        return ""
    text = part.get("text")
    return text if isinstance(text, str) and not part.get("thought") else ""


def answer_text(content: Any) -> str:
    """The text of an answer's content, whose parts follow one another without a break."""
    return content_text(content, between="")


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages, each with a role and content."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in value)
    )


def conversation_prompt(messages: Sequence[Any]) -> str:
    """The text that a conversation is routed by: the last message of the user, or the last one where none is."""
    of_user = [message for message in messages if message.get("role") == "user"]
    return content_text((of_user or messages)[-1].get("content"))


def prompt_text(value: Any) -> str | None:
    """The text of a prompt that may be a conversation: a list of messages, or one written as JSON.

    Any other text is itself, and any other value none. Half a surrogate pair in it becomes U+FFFD, as UTF-8 has none.
    """
    if isinstance(value, str):
        parsed = _parsed_list(value)
        return conversation_prompt(parsed) if is_conversation(parsed) else whole_characters(value)
    return whole_characters(conversation_prompt(value)) if is_conversation(value) else None


def _parsed_list(text: str) -> Any:
    if not text.lstrip().startswith("[") or '"role"' not in text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, such as an emoji cut in two, which no UTF-8 can hold."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
