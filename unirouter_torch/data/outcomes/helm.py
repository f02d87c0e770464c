"""Files of one run of HELM: ``per_instance_stats.json``, and the prompts beside it."""

from collections import defaultdict
from pathlib import Path

from unirouter_torch.data.outcomes import OutcomeRow, Pick
from unirouter_torch.data.outcomes.json_files import (
    as_list,
    as_object,
    check_score,
    choose_metric,
    number_or_none,
    read_json_file,
)
from unirouter_torch.errors import DataError

STATS = "per_instance_stats.json"
PROMPTS = ("scenario_state.json", "instances.json")

_NO_QUALITY = ("num_", "max_num_", "finish_reason_", "inference_", "training_", "estimated_", "batch_size", "logprob")
_OUTPUT_TOKENS = ("num_completion_tokens", "num_output_tokens")

Stats = dict[str, float]


def read_helm(path: Path, pick: Pick) -> list[OutcomeRow]:
    """Rows of a run folder, or of the ``per_instance_stats.json`` in it.

    A metric is the name of a statistic such as ``quasi_exact_match``. Perturbed instances are left out; several trials
    of an instance give several rows. A prompt may be the input of the instance or the text that was sent.

    Raises:
        DataError: A file is missing or malformed, or the metric has to be chosen.
    """
    folder = path if path.is_dir() else path.parent
    stats = _read_stats(folder / STATS)
    texts = _read_texts(folder)
    names = [name for found in stats.values() for name in found if not name.startswith(_NO_QUALITY)]
    metric = choose_metric(names, pick.metric, str(folder / STATS))
    return [
        OutcomeRow(
            place=(place := f"{folder / STATS}, instance {instance_id!r}"),
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
    for number, entry in enumerate(as_list(read_json_file(path)), start=1):
        place = f"{path}, entry {number}"
        entry = as_object(entry, place)
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


def _read_texts(folder: Path) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = defaultdict(list)
    for name in PROMPTS:
        file = folder / name
        if not file.is_file():
            continue
        content = read_json_file(file)
        requests = as_list(content.get("request_states")) if isinstance(content, dict) else []
        for entry in requests or as_list(content):
            instance = entry.get("instance", entry)
            if instance.get("perturbation") is None:
                sent = entry.get("request", {}).get("prompt")
                texts[str(instance.get("id"))] += [text for text in (instance["input"].get("text"), sent) if text]
    if not texts:
        raise DataError(f"{folder}: no prompts beside {STATS}; expected {' or '.join(PROMPTS)}. Add one of them.")
    return texts
