"""Output of a batch of Anthropic's messages: one result in a line, by the ``custom_id`` of its request."""

from collections.abc import Iterable
from pathlib import Path

from unirouter_torch.data.files import JSONObject
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.batches import BatchAnswer, anthropic_answer, anthropic_tokens, batch_rows
from unirouter_torch.data.outcomes.fields import within
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample


class AnthropicBatchReader(OutcomesReader):
    """Results whose ``custom_id`` is the prompt id; those that did not succeed are not graded."""

    name = "anthropic_batch"
    form = "results of a batch of Anthropic's messages"

    def recognizes(self, sample: Sample) -> bool:
        """A result for each ``custom_id``."""
        return {"custom_id", "result"} <= sample.columns

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One answer a line."""
        return batch_rows(path, "custom_id", _answer)


def _answer(line: JSONObject) -> BatchAnswer:
    message = within(line, "result", "message")
    succeeded = within(line, "result", "type") == "succeeded" and isinstance(message, dict)
    text, is_cut_off = anthropic_answer(message) if succeeded else (None, False)
    return BatchAnswer(text, is_cut_off, *anthropic_tokens(within(message, "usage")))
