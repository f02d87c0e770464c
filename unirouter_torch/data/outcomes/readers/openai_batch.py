"""Output of an OpenAI-style batch: one answer in a line, by the ``custom_id`` of its request."""

from collections.abc import Iterable
from pathlib import Path

from unirouter_torch.data.files import JSONObject
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.batches import BatchAnswer, batch_rows, chat_answer
from unirouter_torch.data.outcomes.fields import number_or_none
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample

_COUNTS = (("prompt", "input"), ("completion", "output"))


class OpenAIBatchReader(OutcomesReader):
    """The output of a batch whose ``custom_id`` is the prompt id; its answers are to be graded.

    Requests may have gone to chat completions, responses or completions. One that failed is not graded.
    """

    name = "openai_batch"
    form = "output of an OpenAI-style batch"

    def recognizes(self, sample: Sample) -> bool:
        """A response for each ``custom_id``."""
        return "custom_id" in sample.columns and bool({"response", "error"} & sample.columns)

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One answer a line."""
        return batch_rows(path, "custom_id", _answer)


def _answer(line: JSONObject) -> BatchAnswer:
    body = _body(line)
    usage = body.get("usage") or {}
    counts = [number_or_none(usage.get(f"{old}_tokens", usage.get(f"{new}_tokens"))) for old, new in _COUNTS]
    text, is_cut_off = chat_answer(body)
    return BatchAnswer(text, is_cut_off, *counts)


def _body(line: JSONObject) -> JSONObject:
    response = line.get("response") or {}
    failed = line.get("error") is not None or response.get("status_code", 200) != 200
    return {} if failed else response.get("body") or {}
