"""Activity of OpenRouter: what was spent, by request or by day."""

from collections.abc import Iterable
from pathlib import Path

from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.reader import OutcomesReader, Sample


class OpenRouterReader(OutcomesReader):
    """Costs and tokens of requests; what was asked and answered is not in it."""

    name = "openrouter"
    form = "activity of OpenRouter, which holds no outcomes"
    without_outcomes = (
        "activity of OpenRouter: costs and tokens, but neither prompts nor answers nor scores. Log prompts and answers "
        "where you call it, grade them, and write a log; the costs may go into its column cost"
    )

    def recognizes(self, sample: Sample) -> bool:
        """The name that OpenRouter gives to a version of an LLM, or its columns of costs."""
        names = {name.rpartition(".")[2] for name in (*sample.columns, *sample.paths)}
        costs = {"generation_id", "byok_usage_inference", "cost_total", "tokens_prompt", "provider_name"}
        return "model_permaslug" in names or len(costs & names) > 2

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """Nothing, as there is nothing."""
        return ()
