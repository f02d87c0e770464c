"""Run routers of other projects beside ours: same splits, same embeddings, our figures; and times and memory.

    python -m venv peers/llmrouter && peers/llmrouter/bin/pip install llmrouter-lib==0.4.0
    python -m venv peers/routellm && peers/routellm/bin/pip install routellm==0.2.0
    python scripts/compare_peers.py --trials 3 --output docs/evidence/peers.json --page docs/evidence/peers.md \
      --pythons llmrouter=peers/llmrouter/bin/python routellm=peers/routellm/bin/python \
      --configs configs/research/trials_farel_bench.yaml configs/research/trials_llmrouter.yaml

The peers route among LLMs that they were trained on. So there are two pools: ``fixed``, every LLM with its outcomes on
all training and validation prompts, for the peers as for us; and ``new``, the unseen LLMs of a split, where the peers
are trained on the calibration outcomes and ours are represented by them. What the output file has is kept: further
tables, pools and trials join.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from peers_page import write_page
from torch import Tensor

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import split_table
from unirouter_torch.errors import ConfigError
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.method_run import run_method
from unirouter_torch.methods.registry import method_class
from unirouter_torch.methods.trial import Trial
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.metrics.saving import quality_within_budget
from unirouter_torch.metrics.scores import score
from unirouter_torch.metrics.stages import measure
from unirouter_torch.shapes import ErrorMatrix, LLMIndex
from unirouter_torch.storage import read_json, write_json

OURS = ("zero", "kmeans", "hierarchical_shrinkage_24", "hierarchical_shrinkage", "end_to_end")
PEERS = {
    "llmrouter": ("llmrouter_knn", "llmrouter_svm", "llmrouter_mlp", "llmrouter_mf"),
    "routellm": ("routellm_mf",),
}
"""Routers of each project, as ``peers_worker.py`` names them."""
KNOWS_TWO = ("routellm_mf",)
"""Routers that know two LLMs, a strong and a weak one."""
FIGURES = ("area", "cost_at_99", "quality_at_25", "quality_at_50")
NUM_SINGLE = 50
"""Prompts that are routed one at a time, as in ``peers_worker.py``."""

Pool = Literal["fixed", "new"]


class Setting(NamedTuple):
    """One trial of one table and pool, with what a peer gets of it."""

    trial: Trial
    pair: list[int]
    """The strong and the weak LLM, as columns of the pool."""

    @property
    def truth_of_pair(self) -> Truth:
        """What is true of the two LLMs alone."""
        truth = self.trial.truth
        return replace(
            truth,
            cost=truth.cost[self.pair],
            error=truth.error[:, self.pair],
            observed=truth.observed[:, self.pair],
            source=None,
        )

    def arrays(self, seed: int) -> dict[str, Any]:
        """The labels as a worker reads them; a fifth of them is held out for a choice of settings."""
        labels = self.trial.calibration
        error = torch.where(labels.observed, labels.error, torch.nan)
        held_out = torch.rand(len(error), generator=torch.Generator().manual_seed(seed)) < 0.2
        return {
            "embedding": labels.embedding.numpy(),
            "error": error.numpy(),
            "held_out": held_out.numpy(),
            "test": self.trial.test.embedding.numpy(),
            "pair": np.array(self.pair),
        }


def settings_of(
    config: TrainConfig, embedded: EmbeddedTable, pool: Pool, seeds: Iterable[int]
) -> Iterator[tuple[int, Setting]]:
    """Trials of a table by their seed, with the labels of the pool as calibration outcomes."""
    unseen_fraction = config.data.unseen_fraction if pool == "new" else 0.0
    for seed in seeds:
        split = split_table(embedded.table, seed=seed, unseen_fraction=unseen_fraction)
        trial = prepare_trial(replace(config, seed=seed), embedded, split, seed)
        if pool == "fixed":
            trial = trial.with_calibration(torch.cat([split.train_prompts, split.validation_prompts]).sort().values)
        yield seed, Setting(trial, strong_and_weak(trial))


def strong_and_weak(trial: Trial) -> list[int]:
    """The LLM of the best labels, and the best of those that cost at most half as much, or the cheapest."""
    labels, cost = trial.calibration, trial.test_cost
    quality = torch.where(labels.observed, 1 - labels.error, torch.nan).nanmean(0).nan_to_num(nan=-1.0)
    strong = int(quality.argmax())
    cheap = cost <= cost[strong] / 2
    weak = int(torch.where(cheap, quality, -2.0).argmax() if cheap.any() else cost.argmin())
    if weak == strong:
        weak = int(torch.where(torch.arange(len(cost)) == strong, -2.0, quality).argmax())
    return [strong, weak]


def run_ours(name: str, setting: Setting) -> tuple[ErrorMatrix, dict[str, Any]]:
    """Estimated errors of one of our methods, and what it took."""
    trial = setting.trial
    found = run_method(method_class(name), trial)
    features = found.method.represent(trial.calibration)
    embedding = trial.test.embedding

    def choose(rows: slice) -> LLMIndex:
        return found.method.estimate_error(embedding[rows], features).argmin(-1)

    with torch.inference_mode():
        _, batch = measure(lambda: choose(slice(None)))
        _, single = measure(lambda: [choose(slice(row, row + 1)) for row in range(NUM_SINGLE)])
    stages = [found.stages["fit"], found.stages["onboard"]]
    return found.estimated_error, {
        "fit_seconds": sum(stage.wall_seconds for stage in stages),
        "fit_bytes": max(stage.peak_bytes or 0 for stage in stages),
        "batch_per_second": len(embedding) / batch.wall_seconds,
        "single_per_second": NUM_SINGLE / single.wall_seconds,
    }


def run_peer(peer: str, python: str, folder: Path) -> None:
    """Fit the routers of a project on every trial of a folder.

    Raises:
        ConfigError: The worker did not end well.
    """
    here = Path(__file__).resolve().parent
    environment = os.environ | {"PYTHONPATH": str(here.parent), "OMP_NUM_THREADS": "1"}
    command = [python, str(here / "peers_worker.py"), str(folder), *PEERS[peer]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise ConfigError(f"--pythons: {python} does not run {peer} ({lines[-1]}). Install the peer there.")


def judge(estimated: ErrorMatrix, truth: Truth) -> dict[str, float | None]:
    """Our figures of some estimates."""
    figures = score(Judged(estimated, truth)).figures
    return {name: figures[name] for name in FIGURES}


def judge_peer(name: str, setting: Setting, folder: Path, number: int, ours: ErrorMatrix) -> dict[str, Any]:
    """Figures of a peer's router by its defaults and tuned, and its own choice beside ours at the same cost."""
    facts = read_json(folder / f"{name}_{number}.json")
    columns = setting.pair if name in KNOWS_TWO else list(range(len(setting.trial.test_cost)))
    truth = setting.truth_of_pair if name in KNOWS_TWO else setting.trial.truth
    record: dict[str, Any] = {key: facts.get(key) for key in ("fit_seconds", "fit_bytes", "batch_per_second")}
    record |= {
        "single_per_second": facts.get("single_per_second"),
        "embeds": facts["embeds"],
        "errors": facts["errors"],
    }
    with np.load(folder / f"{name}_{number}.npz") as found:
        held_out, labels = torch.from_numpy(setting.arrays(number)["held_out"]), setting.trial.calibration
        known = replace(truth, error=labels.error[held_out][:, columns], observed=labels.observed[held_out][:, columns])
        known = replace(known, source=None)
        areas = {
            setting_number: known.area_of(torch.from_numpy(1 - found[f"held_out_{setting_number}"][:, columns]).float())
            for setting_number in range(len(facts["settings"]))
            if f"test_{setting_number}" in found.files
        }
        if 0 in areas:
            record["default"] = judge(torch.from_numpy(1 - found["test_0"][:, columns]).float(), truth)
            choice, quality = (torch.from_numpy(found[key]) for key in ("choice_0", "test_0"))
            choice = observed_choice(choice, quality, setting, columns)
            record["choice"] = judge_choice(choice, setting, Judged(ours[:, columns], truth))
        if areas:
            best = max(areas, key=lambda setting_number: areas[setting_number])
            record["tuned"] = judge(torch.from_numpy(1 - found[f"test_{best}"][:, columns]).float(), truth)
            record["tuned_settings"] = facts["settings"][best]
    return record


def observed_choice(
    choice: LLMIndex, quality: Float[Tensor, "prompt llm"], setting: Setting, columns: list[int]
) -> LLMIndex:
    """What a peer chooses, or the best by its estimates among the observed LLMs where that LLM was not observed.

    Ours choose among the observed LLMs as well: a benchmark that few LLMs took would count for them alone otherwise.
    """
    observed, among = setting.trial.test.observed, torch.tensor(columns)
    best = among[torch.where(observed[:, among], quality[:, among], -1.0).argmax(-1)]
    return torch.where(observed.gather(1, choice[:, None]).squeeze(1), choice, best)


def judge_choice(choice: LLMIndex, setting: Setting, ours: Judged) -> dict[str, float | None]:
    """Quality and cost of the choices of a peer, and our quality at that cost, all on the same prompts."""
    test, cost, rows = setting.trial.test, setting.trial.test_cost, torch.arange(len(choice))
    observed = test.observed[rows, choice]
    share = float(cost[choice][observed].mean() / ours.truth.cost.max())
    return {
        "quality": float((1 - test.error[rows, choice])[observed].mean()),
        "relative_cost": share,
        "our_quality": quality_within_budget(ours.curve, ours.truth.cost, min(share, 1.0)),
    }


def compare_on(
    config: TrainConfig, embedded: EmbeddedTable, pool: Pool, pythons: dict[str, str], seeds: Iterable[int]
) -> list[dict[str, Any]]:
    """One record for each trial and method of a table and pool."""
    settings = dict(settings_of(config, embedded, pool, seeds))
    records, ours = [], {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number, setting in settings.items():
            np.savez(folder / f"trial_{number}.npz", **setting.arrays(number))
            where = {"table": embedded.table.name, "pool": pool, "trial": number}
            where |= {"num_llms": len(setting.trial.test_cost), "num_labelled": len(setting.trial.calibration.error)}
            for name in OURS:
                estimated, facts = run_ours(name, setting)
                pair = judge(estimated[:, setting.pair], setting.truth_of_pair)
                records.append(
                    where | {"method": name, "default": judge(estimated, setting.trial.truth), "pair": pair} | facts
                )
            ours[number] = (where, estimated)
        for peer, python in pythons.items():
            run_peer(peer, python, folder)
            for name in PEERS[peer]:
                for number, (where, estimated) in ours.items():
                    judged = judge_peer(name, settings[number], folder, number, estimated)
                    records.append(where | {"method": name} | judged)
    return records


def compare(options: argparse.Namespace) -> None:
    """Compare on every table, and write."""
    at_least("--trials", options.trials, 1)
    pythons = dict(pair.split("=", 1) for pair in options.pythons)
    if unknown := pythons.keys() - PEERS.keys():
        raise ConfigError(f"--pythons: got {sorted(unknown)[0]!r}, expected one of {', '.join(PEERS)}.")
    torch.set_num_threads(1)
    records: list[dict[str, Any]] = read_json(options.output)["records"] if options.output.exists() else []
    for path in options.configs:
        config = parse_config(["--config", path])
        embedded = embed_table(config)
        for pool in options.pools:
            here = (embedded.table.name, pool)
            have = {record["trial"] for record in records if (record["table"], record["pool"]) == here}
            if missing := [seed for seed in range(options.trials) if seed not in have]:
                records += compare_on(config, embedded, pool, pythons, missing)
                write_json(options.output, {"records": records})
    write_page(options.output, options.page)


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--page", type=Path, metavar="FILE", help="page whose tables are written from it")
    parser.add_argument("--configs", nargs="+", required=True, metavar="FILE", help="one for each table")
    parser.add_argument("--pools", nargs="+", choices=("fixed", "new"), default=["fixed", "new"])
    parser.add_argument("--pythons", nargs="*", default=[], metavar="PEER=PYTHON", help="the Python that has each peer")
    parser.add_argument("--trials", type=int, default=3, metavar="N", help="splits of each table (default: 3)")
    options = parser.parse_args()
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    sys.exit(main())
