"""Texts of chats: the prompt of a conversation, and the answer of an LLM without the reasoning that precedes it."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from unirouter_torch.errors import ConfigError

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""A text, or a conversation: a list of messages, each with a role and content."""

LAST_USER = "last_user"
WHOLE = "whole"
LISTED = re.compile(r"\s*\[")
"""How a text begins that may be a conversation."""
_RULE = re.compile(r"last_user|whole|last_turns:[1-9]\d{0,5}")

_TAG = (
    r"(?:(?:(?!START_|END_)\w+[_:])?think(?:ing)?|(?:antml:|seed:|ant_?|internal_|inner_)?(?:thinking|thoughts?|reasoning"
    r"|reflection|scratchpad|monologue|analysis|chain_of_thought|cot))(?:_process)?"
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
    r"<\|inner_prefix\|>",
    r"<start_working_out>",
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
    r"<\|inner_suffix\|>",
    r"<end_working_out>",
    r"<\|END_THINKING\|>",
    r"<\|channel\|>final\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>",
    r"assistantfinal",
    r"<channel\|>",
    r"<unused95>",
)
_FLAGS = re.IGNORECASE | re.DOTALL
_MARK = re.compile(rf"(?P<opening>{'|'.join(_OPENING)})|(?P<closing>{'|'.join(_CLOSING)})", _FLAGS)
_EMPTY_BLOCK = re.compile(rf"<\s*{_TAG}\s*/>", _FLAGS)
_FOLDED_BLOCK = re.compile(rf"{_FOLDED}(.*?)</details>", _FLAGS)  # </details> alone closes anything that folds
_WRAPPER = re.compile(
    r"\A<(answer|final_answer|response|solution|output|conclusion)>(?P<a>.*?)(?:</\1>)?\Z"
    r"|\A<\|(?:begin_of_(?:solution|box)|START_RESPONSE)\|>(?P<b>.*?)(?:<\|(?:end_of_(?:solution|box)|END_RESPONSE)\|>)?\Z",
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
    text = _FOLDED_BLOCK.sub(r"<think>\1</think>", _EMPTY_BLOCK.sub("<think></think>", text))
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

    A part is text where it is a bare string, has no type, or is of type ``text``, ``input_text`` or ``output_text``:
    logs hold all of these, and a chat that is served has to be read as the log that its router was trained on. Parts
    that are reasoning, images, calls of tools and the like are left out.
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


def check_conversation_rule(rule: str, place: str) -> None:
    """Refuse what is no rule of :func:`conversation_prompt`.

    Raises:
        ConfigError: It is none.
    """
    if _RULE.fullmatch(rule) is None:
        raise ConfigError(f"{place}: got {rule!r}, expected last_user, whole, or last_turns:N with N of at least 1.")


def conversation_prompt(messages: Sequence[Any], rule: str = LAST_USER) -> str:
    """The text that a conversation is routed by: the same in training, calibration and serving.

    Messages are joined by blank lines, without marks of who spoke, so that a conversation of one message is routed as
    the prompt that it is, whatever the rule. Under ``last_turns:N`` and ``whole`` a call of a tool counts as its name
    and arguments, and its result as its text. What is longer than the encoder reads is cut there, as any prompt.

    Args:
        messages: Each with a role and content, at least one; items of OpenAI's Responses API without a role count as
            calls and results.
        rule: ``last_user``: the last message of the user, or the last one where none is. ``last_turns:N``: from the
            N-th last message of the user on, N at least 1. ``whole``: every message, those of the system included.
    """
    users = [place for place, message in enumerate(messages) if str(message.get("role")).lower() == "user"]
    if rule == LAST_USER:
        return whole_characters(content_text(messages[users[-1] if users else -1].get("content")))
    counted = 0 if rule == WHOLE else int(rule.partition(":")[2])
    first = users[-counted] if counted and len(users) >= counted else 0
    if counted and not users:
        first = len(messages) - 1
    texts = [text for message in messages[first:] for text in _texts_of_message(message) if text]
    return whole_characters("\n\n".join(texts))


def _texts_of_message(message: Mapping[str, Any]) -> Iterator[str]:
    """What a message says, its calls of tools and their results, in the forms of OpenAI and Anthropic."""
    content = message.get("content")
    yield content_text(content)
    for part in [message, *(content if isinstance(content, list) else [])]:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("function_call", "tool_use"):
            yield _call_text(part.get("name"), part.get("arguments", part.get("input")))
        elif kind in ("function_call_output", "tool_result"):
            yield content_text(part.get("output", part.get("content") if part is not message else None))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield _call_text(function.get("name"), function.get("arguments"))


def _call_text(name: object, arguments: object) -> str:
    if not isinstance(name, str):
        return ""
    try:
        return f"{name} {arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)}"
    except (TypeError, ValueError, RecursionError):
        return name


def prompt_text(value: Any, rule: str = LAST_USER) -> str | None:
    """The text of a prompt that may be a conversation: a list of messages, one message, or a request with ``messages``.

    A conversation may also be written as JSON, or as Python writes lists, which tables hold. Any other text is itself,
    and any other value none. Half a surrogate pair in it becomes U+FFFD, as UTF-8 has none.

    Args:
        value: The prompt.
        rule: That of :func:`conversation_prompt`.
    """
    found = _parsed_list(value) if isinstance(value, str) else value
    if isinstance(found, dict):
        found = found.get("messages", [found])
    if is_conversation(found):
        return conversation_prompt(found, rule)
    return whole_characters(value) if isinstance(value, str) else None


def _parsed_list(text: str) -> Any:
    if not LISTED.match(text):
        return None
    read = json.loads if '"role"' in text else ast.literal_eval if "'role'" in text else None
    try:
        return read and read(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def whole_characters(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair, such as an emoji cut in two, which no UTF-8 can hold."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
