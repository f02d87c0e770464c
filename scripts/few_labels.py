"""Few calibration prompts for an unseen LLM: drawn or chosen, and with priors learned from other LLMs.

python scripts/few_labels.py --output docs/evidence/few_labels.json --page docs/evidence/ablations.md --trials 10 \
  --configs configs/research/trials_{mmlu_pro,zeroeval}.yaml \
  --others configs/research/trials_{mmlu_pro,zeroeval,llmrouter,farel_bench,eq_bench}.yaml

A trial trains one head and represents the unseen LLMs by 30, 50 and 100 prompts in each way; the reference is 300 drawn
prompts. The file keeps area and squared error of every trial: interrupted, the same command goes on. What the package
does not have is here alone:

* ``Gaussian``: the difference of a cluster error from the one that the LLM's ability lets expect is Gaussian, with the
  covariance that seen LLMs have and a quarter of the variance that the learned shrinkage stands for; its posterior
  mean, from the same sums by cluster. With ``all tables`` half of the covariance is that of the LLMs of the other
  tables, through the same head.
* ``set encoder``: a small network, trained on episodes of all tables, corrects the cluster errors by these and the
  number of prompts in each cluster: sums over a set.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from compare_encoders import Trials, summary, table_name
from jaxtyping import Float
from peers_page import put_between
from publish_results import TITLES
from torch import Tensor, nn

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.files import parse_config
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.splits import draw_calibration, split_table
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table
from unirouter_torch.experiments.run import prepare_trial
from unirouter_torch.methods.chosen_prompts import choose_calibration
from unirouter_torch.methods.end_to_end import FrozenEndToEnd
from unirouter_torch.methods.trial import Trial
from unirouter_torch.progress import progress
from unirouter_torch.routing.cluster_error import ClusterSums, estimate_error, expected_cluster_error, sum_by_cluster
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.routing.prompt_selection import sum_adjusted
from unirouter_torch.shapes import ClusterError
from unirouter_torch.storage import read_json, write_json
from unirouter_torch.training.objective import cross_entropy

NUMBERS = (30, 50, 100)
REFERENCE = "300 drawn"
SHARE_ALONE = 0.25
"""Share of the variance that the learned shrinkage stands for which each cluster has alone, beyond the covariance."""
SET_ENCODER_STEPS, SET_ENCODER_WIDTH, SET_ENCODER_RATE = 300, 64, 3e-3


def residuals(head: ClusterHead, outcomes: Outcomes) -> ClusterError:
    """Cluster errors of LLMs less those that their abilities let expect."""
    sums = sum_by_cluster(head(outcomes.embedding), outcomes.error, outcomes.observed)
    return head.cluster_error(sums) - expected_cluster_error(sums, head.difficulty)


def learn_covariance(head: ClusterHead, seen: Outcomes, others: Sequence[Outcomes]) -> Float[Tensor, "cluster cluster"]:
    """Of the residuals of the seen LLMs; half of it that of the LLMs of other tables, where there are any."""
    covariance: Float[Tensor, "cluster cluster"] = torch.cov(residuals(head, seen).T)
    if others:
        away = [residuals(head, other) for other in others]
        spread = torch.cat([its - its.mean(0) for its in away])
        covariance = (covariance + spread.T @ spread / (len(spread) - len(away))) / 2
    return covariance


def posterior_mean(head: ClusterHead, sums: ClusterSums, covariance: Float[Tensor, "cluster cluster"]) -> ClusterError:
    """Expected cluster errors plus the posterior mean of the residuals."""
    expected = expected_cluster_error(sums, head.difficulty).double()
    noise = (expected * (1 - expected)).clamp(min=0.02)
    alone = torch.diag_embed(SHARE_ALONE * noise / head.shrinkage)
    precision = torch.linalg.inv(covariance.double() + alone) + torch.diag_embed(sums.weight / noise)
    found = torch.linalg.solve(precision, (sums.error - sums.weight * expected) / noise)
    mean: ClusterError = (expected + found).float().clamp(0.0, 1.0)
    return mean


class SetEncoder(nn.Module):
    """Corrects the log-odds of shrunk cluster errors; nothing at first."""

    def __init__(self, head: ClusterHead) -> None:
        super().__init__()
        self.head = head
        width, size = SET_ENCODER_WIDTH, head.num_clusters
        last = nn.Linear(width, size)
        self.net = nn.Sequential(nn.Linear(2 * size, width), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, sums: ClusterSums) -> ClusterError:
        """Cluster errors from the sums over a set of prompts."""
        shrunk = self.head.cluster_error(sums).clamp(0.01, 0.99)
        beside = 10 * (shrunk - expected_cluster_error(sums, self.head.difficulty))
        corrected: ClusterError = (
            shrunk.logit() + self.net(torch.cat([beside, sums.weight.add(1).log() / 2], -1))
        ).sigmoid()
        return corrected


def train_set_encoder(head: ClusterHead, seen: Outcomes, others: Sequence[Outcomes]) -> SetEncoder:
    """On episodes of 30 to 120 prompts, half of them of the table itself."""
    torch.manual_seed(0)
    encoder, tables = SetEncoder(head), [seen, *others]
    optimizer = torch.optim.AdamW(encoder.net.parameters(), lr=SET_ENCODER_RATE, weight_decay=0.1)
    for step in range(SET_ENCODER_STEPS):
        table = tables[0 if step % 2 == 0 else int(torch.randint(len(tables), ()))]
        number = min(int(torch.randint(30, 121, ())), len(table.error) // 2)
        order = torch.randperm(len(table.error))
        known, target = table.of_prompts(order[:number]), table.of_prompts(order[number : number + 256])
        sums = sum_by_cluster(head(known.embedding), known.error, known.observed)
        estimated = estimate_error(head(target.embedding), encoder(sums))
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(estimated, target.error, target.observed))
        optimizer.step()
    return encoder


def measure(trial: Trial, others: Sequence[Outcomes]) -> dict[str, tuple[float, float]]:
    """Area and squared error of each way on the test of a trial."""
    head = trial.fitted(FrozenEndToEnd).head.requires_grad_(False)
    seen = trial.train
    own, shared = learn_covariance(head, seen, []), learn_covariance(head, seen, others)
    set_encoder = train_set_encoder(head, seen, others)
    ways: dict[str, Callable[[ClusterSums], ClusterError]] = {
        "": head.cluster_error,
        ", Gaussian": lambda sums: posterior_mean(head, sums, own),
        ", Gaussian, all tables": lambda sums: posterior_mean(head, sums, shared),
        ", set encoder": set_encoder,
    }
    probability = head(trial.test.embedding)

    def judge(features: ClusterError) -> tuple[float, float]:
        estimated, observed = estimate_error(probability, features.detach()), trial.truth.observed
        squared = (estimated - trial.truth.error)[observed].double().square().mean()
        return trial.truth.area_of(estimated), float(squared)

    drawn = {
        number: draw_calibration(trial.split, num_prompts=number, seed=trial.tuning.seed) for number in (*NUMBERS, 300)
    }
    outcomes = trial.with_calibration(drawn[300]).calibration
    found = {REFERENCE: judge(head.cluster_error(sum_by_cluster(head(outcomes.embedding), *outcomes[1:])))}
    for number in NUMBERS:
        settings = replace(trial.config, data=replace(trial.config.data, num_calibration=number))
        chosen = choose_calibration(head, replace(trial, config=settings))
        for name, (prompts, counts) in {"drawn": (drawn[number], None), "chosen": chosen}.items():
            outcomes = trial.with_calibration(prompts).calibration
            sums = sum_adjusted(head(outcomes.embedding), outcomes.error, outcomes.observed, counts)
            for way, represent in ways.items():
                found[f"{number} {name}{way}"] = judge(represent(sums))
    return found


def static_table(path: str) -> tuple[TrainConfig, EmbeddedTable]:
    """A config and its table under the static encoder."""
    config = parse_config(["--config", path, "--encoder.name", "unirouter-static"])
    return config, embed_table(config)


def compare(options: argparse.Namespace) -> None:
    """Compute what the file lacks, write and print."""
    found: dict[str, dict[str, Trials]] = read_json(options.output) if options.output.exists() else {}
    tables = {path: static_table(path) for path in dict.fromkeys([*options.configs, *options.others])}
    outcomes = {path: Outcomes(it.embedding, it.table.error, it.table.observed) for path, (_, it) in tables.items()}
    for path in options.configs:
        config, embedded = tables[path]
        others = [outcomes[other] for other in options.others if other != path]
        here = found.setdefault(table_name(path), {})
        for seed in progress(range(options.trials), table_name(path)):
            if str(seed) not in here.get(REFERENCE, {}):
                split = split_table(embedded.table, seed=seed, unseen_fraction=config.data.unseen_fraction)
                trial = prepare_trial(replace(config, seed=seed), embedded, split, seed)
                for way, figures in measure(trial, others).items():
                    here.setdefault(way, {})[str(seed)] = (round(figures[0], 6), round(figures[1], 6))
                write_json(options.output, found)
    print(table_of(found))
    if options.page:
        put_between(options.page, "few_labels.json", table_of(found))


def table_of(found: dict[str, dict[str, Trials]]) -> str:
    """Every way beside the reference, as Markdown."""
    heads = (
        "table",
        "prompts",
        "trials",
        "area / squared error",
        REFERENCE,
        "area: difference [95% interval], won : lost",
        "squared error: difference [95% interval], won : lost",
    )
    rows = [
        [TITLES[table], way, *summary(trials, ways[REFERENCE])]
        for table, ways in found.items()
        for way, trials in ways.items()
        if way != REFERENCE
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ["---"] * len(heads), *rows])


def main() -> int:
    """Parse and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write and go on with")
    parser.add_argument("--page", type=Path, metavar="FILE", help="page whose table is written from it")
    parser.add_argument("--configs", nargs="+", required=True, metavar="FILE", help="one for each table")
    parser.add_argument("--others", nargs="*", default=[], metavar="FILE", help="of tables whose LLMs the priors know")
    parser.add_argument("--trials", type=int, default=10, metavar="N", help="splits of each table (default: 10)")
    options = parser.parse_args()
    return guarded(lambda: compare(options))


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
