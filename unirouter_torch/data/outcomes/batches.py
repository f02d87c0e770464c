"""What outputs of batches share: an answer in a line, by the identifier of its request."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unirouter_torch.data.files import JSONObject, read_records
from unirouter_torch.data.outcomes import OutcomeRow
from unirouter_torch.data.outcomes.fields import as_list, number_or_none, sum_known, within
from unirouter_torch.errors import DataError
from unirouter_torch.messages import answer_text, is_conversation, whole_characters

_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking", "thinking_blocks")


class BatchAnswer(NamedTuple):
    """What a line of a batch holds: the answer, none where there is none, and the tokens that were counted."""

    text: str | None
    is_cut_off: bool
    input_tokens: float | None
    output_tokens: float | None


def batch_rows(path: Path, id_name: str, answer_of: Callable[[JSONObject], BatchAnswer]) -> Iterator[OutcomeRow]:
    """The rows of a file with one answer a line, each by the identifier of its request, which is the prompt id.

    Args:
        path: The file.
        id_name: Name of the identifier.
        answer_of: Reads a line.

    Raises:
        DataError: An identifier is no text.
    """
    for place, line in read_records(path):
        prompt_id = line.get(id_name)
        if not isinstance(prompt_id, str):
            raise DataError(
                f"{place}: got no identifier of the request, expected the prompt id. Check the form of the file."
            )
        answer = answer_of(line)
        yield OutcomeRow(
            place=place,
            llm=None,
            prompt_ids=(prompt_id,),
            answer=None if answer.text is None else whole_characters(answer.text),
            is_cut_off=answer.is_cut_off,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
        )


def anthropic_answer(message: JSONObject) -> tuple[str, bool]:
    """The text of a message of Anthropic's API, and whether it ends within the reasoning."""
    text = answer_text(message.get("content"))
    has_reasoning = any(within(part, "type") == "thinking" for part in as_list(message.get("content")))
    return text, not text and has_reasoning


def anthropic_tokens(usage: Any) -> tuple[float | None, float | None]:
    """Tokens of the prompt, what came from a cache included, and of the answer."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    read = sum_known([number_or_none(within(usage, name)) for name in names])
    return read, number_or_none(within(usage, "output_tokens"))


def logged_answer(value: Any) -> tuple[str | None, bool]:
    """The text of an answer as logs hold it, and whether it ends within the reasoning; None where there is no answer.

    Args:
        value: A text, a number, typed parts, a message, a conversation that ends in one, or a whole response.
    """
    if isinstance(value, str):
        return value, False
    if isinstance(value, bool | int | float):
        return (None, False) if value != value else (str(value), False)
    if is_conversation(value):
        return chat_answer({"choices": [{"message": value[-1]}]})
    if isinstance(value, list):
        return answer_text(value), False
    if isinstance(value, dict) and ("choices" in value or "output" in value):
        return chat_answer(value)
    if isinstance(value, dict) and "content" in value:
        return chat_answer({"choices": [{"message": value}]})
    return None, False


def chat_answer(body: JSONObject) -> tuple[str | None, bool]:
    """The text of a chat completion, response or completion, and whether it ends within the reasoning.

    It is empty where the LLM said nothing, and None where there is no answer.
    """
    for choice in as_list(body.get("choices"))[:1]:
        message = choice.get("message")
        if message is None:
            return answer_text(choice.get("text")), False
        text = answer_text(message.get("content"))
        has_reasoning = any(message.get(name) for name in _REASONING)
        return text, not text and (has_reasoning or choice.get("finish_reason") == "length")
    parts = as_list(body.get("output"))
    said = [part for part in parts if within(part, "type") == "message"]
    if said:
        return "".join(answer_text(part.get("content")) for part in said), False
    is_cut_off = any(within(part, "type") == "reasoning" for part in parts)
    return ("", True) if is_cut_off else (None, False)
