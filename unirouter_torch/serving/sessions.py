"""Conversations that stay with their LLM: a change in the middle loses its cached prefix and its style."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from unirouter_torch.serving.refusals import RefusedError

SESSION_HEADER = "x-unirouter-session"
"""Header by which a client names a conversation, with text of its own choice."""

MOST_SESSIONS = 10_000
"""Sessions that are remembered; the one that was silent for longest is forgotten first."""

LEAST_GAIN = 0.1
"""A session moves where another LLM is expected to err less by more than this."""

_LONGEST_NAME = 200


class Sessions:
    """Which LLM answered in each session, in memory of this process alone."""

    def __init__(self) -> None:
        self._llms: OrderedDict[str, str] = OrderedDict()

    def llm_of(self, name: str | None) -> str | None:
        """The LLM that answered last in a session; None where it is new, or has no name."""
        return None if name is None else self._llms.get(name)

    def answered(self, name: str | None, llm: str) -> None:
        """Remember the LLM that answered."""
        if name is None:
            return
        self._llms[name] = llm
        self._llms.move_to_end(name)
        if len(self._llms) > MOST_SESSIONS:
            self._llms.popitem(last=False)

    def order(self, name: str | None, llms: Sequence[str], estimated_error: Mapping[str, float]) -> list[str]:
        """The LLMs to ask, the session's own first while it is good enough for what comes now.

        Args:
            name: The session.
            llms: Those that may answer and that the conversation fits, the best one first.
            estimated_error: Of each, for what is asked now.
        """
        own = self.llm_of(name)
        if own is None or own not in llms or estimated_error[own] - estimated_error[llms[0]] > LEAST_GAIN:
            return list(llms)
        return [own, *(llm for llm in llms if llm != own)]


def session_of(headers: Mapping[str, str]) -> str | None:
    """The session that a request belongs to; None where it names none.

    Raises:
        RefusedError: Its name is too long.
    """
    name = headers.get(SESSION_HEADER)
    if name is not None and len(name) > _LONGEST_NAME:
        message = f"{SESSION_HEADER}: got {len(name)} characters, expected at most {_LONGEST_NAME}."
        raise RefusedError(400, message, param=SESSION_HEADER)
    return name or None
