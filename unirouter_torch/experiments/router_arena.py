"""A submission to RouterArena, and its score: which LLM a router chooses for each prompt, nothing is trained.

Source: RouterArena (arXiv:2510.00202), its repository's format of files and formula of the score.
"""

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from unirouter_torch.data.files import read_records
from unirouter_torch.data.router_arena import (
    PROMPT_FILES,
    ArenaPrompts,
    ArenaSplit,
    Graded,
    read_arena_grades,
    read_arena_prompts,
)
from unirouter_torch.errors import ConfigError, DataError, first_few
from unirouter_torch.router.router import Router
from unirouter_torch.storage import read_json, write_json

BETA, LEAST_COST, MOST_COST = 0.1, 0.0044, 200.0
"""Weight of cost in the score, and the costs of 1,000 prompts between which it counts [US dollars]."""

Prediction = dict[str, Any]


class ArenaFiles(NamedTuple):
    """Where the files of a submission lie in a clone of RouterArena."""

    config: Path
    """The LLMs of the router."""
    predictions: Path
    """Which LLM each prompt goes to."""
    robustness: Path
    """The same for prompts with noise."""

    @classmethod
    def of(cls, clone: Path, name: str) -> "ArenaFiles":
        """The files of a router.

        Raises:
            ConfigError: The name cannot be that of a submission.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise ConfigError(f"name: got {name!r}, expected letters, digits, '.', '_' and '-'. Choose another name.")
        folder = clone / "router_inference"
        predictions = folder / "predictions"
        return cls(
            folder / "config" / f"{name}.json", predictions / f"{name}.json", predictions / f"{name}-robustness.json"
        )


class ArenaScore(NamedTuple):
    """What RouterArena computes from graded predictions."""

    score: float
    """Of accuracy and cost, in [0, 1]; higher is better."""
    accuracy: float
    """Mean score of the graded answers, in [0, 1]."""
    cost_per_thousand: float
    """Of 1,000 prompts [US dollars]."""
    num_prompts: int
    """Prompts of the predictions."""
    num_graded: int
    """Of these, those with a graded answer."""
    robustness: float | None
    """Share of the prompts with noise that go to the same LLM; None without a robustness file."""


def write_submission(
    router: Router, clone: Path, name: str, *, split: ArenaSplit = "full", cost_weight: float | None = None
) -> ArenaFiles:
    """Choose an LLM for every prompt of RouterArena, and write config, predictions and robustness file.

    Prompts of ``sub_10`` get an entry for each other LLM of the router too, marked ``for_optimality``, where that
    split is prepared. Answers, costs and grades stay empty: RouterArena's own scripts fill them in.

    Args:
        router: Its LLMs are named as RouterArena names them; those that are disabled are left out.
        clone: A clone of RouterArena with prepared data.
        name: Of the submission.
        split: The prompts, ``full`` for a submission or ``sub_10`` to try.
        cost_weight: Error accepted to save one reference cost [1]; the router's own when not given.

    Returns:
        The files; without a robustness file where that split is not prepared, which a warning says.

    Raises:
        ConfigError: The name cannot be that of a submission, or it has predictions already.
        DataError: The data are not prepared, or not of their form.
        PoolError: A prompt fits no LLM.
    """
    files = ArenaFiles.of(clone, name)
    if files.predictions.exists():
        raise ConfigError(f"{files.predictions}: exists already. Choose another name, or remove the file.")
    prompts = read_arena_prompts(clone, split)
    names = [llm.name for llm in router.pool.llms if llm.is_available]
    _warn_of_unpriced(clone, names)
    predictions = _predictions(prompts, router.choose(prompts.texts, cost_weight))
    if (clone / PROMPT_FILES["sub_10"]).is_file():
        predictions += _for_optimality(predictions, read_arena_prompts(clone, "sub_10"), names)
    if (clone / PROMPT_FILES["robustness"]).is_file():
        noisy = read_arena_prompts(clone, "robustness")
        write_json(files.robustness, _predictions(noisy, router.choose(noisy.texts, cost_weight)))
    else:
        warnings.warn(
            f"{clone / PROMPT_FILES['robustness']}: no such file, so there is no robustness file.", stacklevel=2
        )
    write_json(files.config, {"pipeline_params": {"router_name": name, "models": names}})
    write_json(files.predictions, predictions)
    return files


def _predictions(prompts: ArenaPrompts, llms: Sequence[str]) -> list[Prediction]:
    return [
        _entry(index, text, llm, for_optimality=False)
        for index, text, llm in zip(prompts.indices, prompts.texts, llms, strict=True)
    ]


def _entry(index: str, text: str, llm: str, *, for_optimality: bool) -> Prediction:
    return {
        "global index": index,
        "prompt": text,
        "prediction": llm,
        "generated_result": None,
        "cost": None,
        "accuracy": None,
        "for_optimality": for_optimality,
    }


def _for_optimality(predictions: list[Prediction], sub_10: ArenaPrompts, llms: Sequence[str]) -> list[Prediction]:
    """Entries of the LLMs that were not chosen, for the prompts on which all are asked."""
    asked = set(sub_10.indices)
    return [
        _entry(one["global index"], one["prompt"], llm, for_optimality=True)
        for one in predictions
        if one["global index"] in asked
        for llm in llms
        if llm != one["prediction"]
    ]


def _warn_of_unpriced(clone: Path, llms: Sequence[str]) -> None:
    file = clone / "model_cost" / "model_cost.json"
    priced = read_json(file) if file.is_file() else {}
    unpriced = [llm for llm in llms if llm not in priced]
    if unpriced:
        warnings.warn(
            f"{file}: has no price of {first_few(unpriced)}. Add it there and in universal_model_names.py, or rename "
            "the LLM by `unirouter pool rename`.",
            stacklevel=3,
        )


def score_submission(clone: Path, name: str) -> ArenaScore:
    """Compute RouterArena's score of the predictions of a submission.

    ``score = (1 + b) A C / (b A + C)`` with the accuracy ``A``, ``b = 0.1`` and
    ``C = log(200 / c) / log(200 / 0.0044)`` for a cost ``c`` of 1,000 prompts between 0.0044 and 200 US dollars. An
    entry counts with its own ``accuracy`` and ``cost``, else with those that the clone keeps of the LLM's graded
    answer to the prompt (``cached_results``); prompts without either have no part in the accuracy and no cost.

    Args:
        clone: A clone of RouterArena.
        name: Of the submission.

    Raises:
        ConfigError: The name cannot be that of a submission.
        DataError: There are no predictions, or none is graded or has a cost.
    """
    files = ArenaFiles.of(clone, name)
    entries = [one for one in _read(files.predictions) if not one.get("for_optimality")]
    kept: dict[str, dict[str, Graded]] = {}
    accuracies, costs = [], []
    for entry in entries:
        llm, accuracy, cost = str(entry.get("prediction")), entry.get("accuracy"), entry.get("cost")
        if accuracy is None or cost is None:
            if llm not in kept:
                kept[llm] = read_arena_grades(clone, llm)
            if (grade := kept[llm].get(_index(entry))) is None:
                continue
            accuracy, cost = grade
        accuracies.append(float(accuracy))
        costs.append(max(0.0, float(cost)))
    if not accuracies or not sum(costs):
        raise DataError(
            f"{files.predictions}: no entry has a grade and a cost. Run RouterArena's llm_inference/run.py and "
            "llm_evaluation/run.py first."
        )
    accuracy, cost = sum(accuracies) / len(accuracies), sum(costs) / len(entries) * 1000
    return ArenaScore(
        score=arena_score(accuracy, cost),
        accuracy=accuracy,
        cost_per_thousand=cost,
        num_prompts=len(entries),
        num_graded=len(accuracies),
        robustness=_robustness(entries, _read(files.robustness)) if files.robustness.exists() else None,
    )


def arena_score(accuracy: float, cost_per_thousand: float) -> float:
    """RouterArena's score of an accuracy in [0, 1] and a cost of 1,000 prompts [US dollars], positive."""
    cost = min(max(cost_per_thousand, LEAST_COST), MOST_COST)
    saved = math.log(MOST_COST / cost) / math.log(MOST_COST / LEAST_COST)
    if accuracy == 0 or saved == 0:
        return 0.0
    return (1 + BETA) * accuracy * saved / (BETA * accuracy + saved)


def _read(file: Path) -> list[Prediction]:
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected the predictions of a submission. Correct the name.")
    return [row for _, row in read_records(file)]


def _index(entry: Prediction) -> str:
    return str(entry.get("global index") or entry.get("global_index"))


def _robustness(entries: list[Prediction], noisy: list[Prediction]) -> float | None:
    chosen = {_index(entry): entry.get("prediction") for entry in entries}
    same = [chosen[_index(entry)] == entry.get("prediction") for entry in noisy if _index(entry) in chosen]
    return sum(same) / len(same) if same else None
