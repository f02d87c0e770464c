"""Runs of HELM: ``per_instance_stats.json``, and the prompts beside it."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from unirouter_torch.data.files import as_object, open_bytes, parse_json, read_records
from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.fields import as_list, check_score, choose_metric, number_or_none, prompt_texts
from unirouter_torch.data.outcomes.reader import OutcomesReader, Run, Sample
from unirouter_torch.errors import DataError

PROMPTS = ("scenario_state.json", "instances.json")

_NO_QUALITY = ("num_", "max_num_", "finish_reason_", "inference_", "training_", "estimated_", "batch_size", "logprob")
_OUTPUT_TOKENS = ("num_completion_tokens", "num_output_tokens")
_MODEL = re.compile(r",?model=(?P<llm>[^,]+)")

Stats = dict[str, float]


class HelmReader(OutcomesReader):
    """A file of statistics in the folder of a run, or folders with such folders.

    A metric is the name of a statistic such as ``quasi_exact_match``. Perturbed instances are left out; several trials
    of an instance give several rows. A prompt may be the input of the instance or the text that was sent.
    """

    name = "helm"
    form = "runs of HELM (per_instance_stats.json)"
    beside = PROMPTS

    def recognizes(self, sample: Sample) -> bool:
        """Statistics by instance."""
        return {"instance_id", "stats"} <= sample.columns

    def run_of(self, path: Path) -> Run:
        """A run is named by its folder: ``mmlu:subject=law,model=m``; it says nothing of when."""
        folder = path.resolve().parent.name
        found = _MODEL.search(folder)
        return Run(found["llm"] if found else None, _MODEL.sub("", folder), "")

    def read(self, path: Path, pick: Pick) -> Iterable[OutcomeRow]:
        """One outcome for each instance and trial."""
        run = self.run_of(path)
        stats = _read_stats(path)
        texts = _read_texts(path)
        names = [name for found in stats.values() for name in found if not name.startswith(_NO_QUALITY)]
        metric = choose_metric(names, pick, str(path), run.task)
        return [
            OutcomeRow(
                place=(place := f"{path}, instance {instance_id!r}"),
                llm=run.llm,
                texts=tuple(texts.get(instance_id, ())),
                score=check_score(found.get(metric), place, metric),
                input_tokens=found.get("num_prompt_tokens"),
                output_tokens=next((found[name] for name in _OUTPUT_TOKENS if name in found), None),
            )
            for (instance_id, _), found in stats.items()
        ]


def _read_stats(path: Path) -> dict[tuple[str, int], Stats]:
    """Means by name, of each instance and trial: every metric of HELM writes an entry of its own."""
    merged: dict[tuple[str, int], Stats] = defaultdict(dict)
    for _, entry in read_records(path):
        if entry.get("perturbation") is not None:
            continue
        key = str(entry.get("instance_id")), int(entry.get("train_trial_index") or 0)
        for stat in as_list(entry.get("stats")):
            mean = number_or_none(stat.get("mean"))
            if mean is not None and not stat["name"].get("perturbation"):
                merged[key][stat["name"]["name"]] = mean
    if not merged:
        raise DataError(f"{path}: got no instances, expected a list of their statistics. Check the format of the file.")
    return merged


def _read_texts(stats: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = defaultdict(list)
    for name in PROMPTS:
        file = stats.parent / name
        if not file.is_file():
            continue
        with open_bytes(file) as opened:
            content = parse_json(opened.read(), str(file))
        requests = as_list(content.get("request_states")) if isinstance(content, dict) else []
        for entry in requests or as_list(content):
            instance = as_object(entry, str(file)).get("instance", entry)
            if instance.get("perturbation") is None:
                sent = entry.get("request", {}).get("prompt")
                texts[str(instance.get("id"))] += prompt_texts(instance["input"].get("text"), sent)
    if not texts:
        raise DataError(f"{stats}: no prompts beside it; expected {' or '.join(PROMPTS)}. Add one of them.")
    return texts
