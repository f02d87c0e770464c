"""Output of a batch of Google's Gemini API: one response in a line, by the ``key`` of its request."""

from collections.abc import Iterable
from pathlib import Path

from unirouter_torch.data.files import JSONObject
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.batches import BatchAnswer, batch_rows
from unirouter_torch.data.outcomes.fields import as_list, number_or_none, sum_known, within
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample
from unirouter_torch.messages import answer_text


class GeminiBatchReader(OutcomesReader):
    """Responses whose ``key`` is the prompt id."""

    name = "gemini_batch"
    form = "responses of a batch of Google's Gemini API"

    def recognizes(self, sample: Sample) -> bool:
        """A response, or an error, for each ``key``."""
        return "key" in sample.columns and bool({"response", "error"} & sample.columns)

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One answer a line."""
        return batch_rows(path, "key", _answer)


def _answer(line: JSONObject) -> BatchAnswer:
    response = line.get("response")
    usage = within(response, "usageMetadata")
    text, is_cut_off = _said(response) if isinstance(response, dict) else (None, False)
    counts = [number_or_none(within(usage, name)) for name in ("candidatesTokenCount", "thoughtsTokenCount")]
    return BatchAnswer(text, is_cut_off, number_or_none(within(usage, "promptTokenCount")), sum_known(counts))


def _said(response: JSONObject) -> tuple[str | None, bool]:
    for candidate in as_list(response.get("candidates"))[:1]:
        text = answer_text(within(candidate, "content", "parts"))
        return text, not text and within(candidate, "finishReason") == "MAX_TOKENS"
    return None, False
