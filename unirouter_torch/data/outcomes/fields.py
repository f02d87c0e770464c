"""What readers of other tools' files share: values as they are found there, and the choice of a metric."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from unirouter_torch.data.cells import as_number
from unirouter_torch.data.outcomes import Pick
from unirouter_torch.errors import DataError
from unirouter_torch.messages import LAST_USER, prompt_text, whole_characters


def as_list(value: Any) -> list[Any]:
    """The value if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def within(value: Any, *names: str) -> Any:
    """The value of a member of a member of an object; None where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def number_or_none(value: Any) -> float | None:
    """A finite number, with right and wrong in any writing as 1 and 0; None for anything else."""
    number = as_number(value)
    return number if number is not None and math.isfinite(number) else None


def check_score(score: float | None, place: str, metric: str) -> float | None:
    """The score, if it is in [0, 1] or None.

    Raises:
        DataError: It is outside.
    """
    if score is not None and not 0 <= score <= 1:
        raise DataError(f"{place}: {metric} is {score:g}, expected a score in [0, 1]. Choose another metric.")
    return score


def identifiers(*values: Any) -> tuple[str, ...]:
    """Those of the values that can be the identifier of a prompt: text that is no mere number, which counts rows."""
    return tuple(value for value in values if isinstance(value, str) and value.strip() and not value.strip().isdigit())


def parsed(value: Any) -> Any:
    """What a text holds that is JSON, as cells of tables often are; any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def prompt_texts(*values: Any, conversation: str = LAST_USER) -> tuple[str, ...]:
    """Texts that may be a prompt: texts themselves, the prompts of conversations, and the only text of an object.

    Conversations and objects may be written as JSON, as cells of tables often are.

    Args:
        values: Where the prompt may be.
        conversation: The rule by which a conversation becomes its prompt.
    """
    texts: list[str] = []
    for value in values:
        found = parsed(value)
        if not isinstance(found, str):
            prompt = prompt_text(found, conversation)
            leaves = [] if prompt is not None or not isinstance(found, dict) else list(_leaves(found))
            texts += [prompt] if prompt is not None else leaves if len(leaves) == 1 else []
        if isinstance(value, str):
            texts.append(value)
    return tuple(dict.fromkeys(whole_characters(text) for text in texts if text.strip()))


def _leaves(value: Any, depth: int = 3) -> Iterator[str]:
    """The texts in lists and objects, down to some depth."""
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part, depth - 1)


def choose_metric(found: Iterable[str], pick: Pick, place: str, task: str = "") -> str:
    """The metric that is the score of a task.

    Args:
        found: Names in the file; a name may end in a comma and the name of a filter.
        pick: The names that were asked for, with or without the filter; the only one is taken where there are none.
        place: The file, for messages.
        task: The task that the file is of, which a name may be given for alone.

    Raises:
        DataError: None was asked for and there is not exactly one, or what was asked for is not there or is ambiguous.
    """
    names = sorted(set(found))
    for_all = [name for name in pick.metrics if "=" not in name]
    for_task = [name.partition("=")[2] for name in pick.metrics if task and name.partition("=")[0] == task]
    wanted = for_task or for_all
    fitting = [name for name in names if name in wanted or name.partition(",")[0] in wanted] if wanted else names
    if len(fitting) == 1:
        return fitting[0]
    if not names:
        raise DataError(f"{place}: no metric with numbers was found. Check the format of the file.")
    asked = f"{' and '.join(map(repr, wanted))} was chosen" if wanted else "none was chosen"
    raise DataError(
        f"{place}: got the metrics {'; '.join(names)}, but {asked}. Choose one of them as metric"
        f"{f', or for this task alone as {task}=METRIC' if task else ''}."
    )


def sum_known(values: Sequence[float | None]) -> float | None:
    """Sum of the numbers that are known; None without any."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None
