"""Time the joint training of encoder and head against a plain torch loop and the trainer of sentence-transformers.

python scripts/benchmark_training.py --output runs/benchmark_training.json --table data/zeroeval
"""

import argparse
import copy
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from benchmark_encoding import reference_encoder, some_prompts
from benchmark_scoring import print_table, time_all
from torch import Tensor, nn
from torch.utils.data import DataLoader

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.encoder_training import EncoderTrainingConfig
from unirouter_torch.config.router import DEFAULT_ENCODER
from unirouter_torch.config.training import EpisodeConfig, TrainConfig, TrainerConfig
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.trainable import make_trainable
from unirouter_torch.errors import DataError
from unirouter_torch.progress import progress
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.outcomes import Outcomes
from unirouter_torch.storage import write_json
from unirouter_torch.training.episodes import Episode, EpisodeDataset
from unirouter_torch.training.joint_module import JointModule
from unirouter_torch.training.joint_tables import JointPart, JointTables
from unirouter_torch.training.objective import EpisodeOutcomes, cross_entropy, estimate_targets
from unirouter_torch.training.optimizer import build_schedule
from unirouter_torch.training.trainer import build_trainer, quiet_lightning

GROWTH = {"batch": (8, 16, 32, 64), "llms": (10, 100, 1_000), "clusters": (16, 64, 256, 1_024)}
"""What is varied, one at a time."""

QUICK_GROWTH = {"batch": (4, 8), "llms": (3, 6), "clusters": (2, 4)}


class Work(NamedTuple):
    """What all three train: the same encoder and head, on the same prompts, all of which pass through the encoder."""

    encoder: PromptEncoder
    head: ClusterHead
    texts: list[str]
    outcomes: Outcomes
    config: TrainConfig

    def episodes(self) -> EpisodeDataset:
        """Half a batch calibrates, half a batch is predicted."""
        num_prompts, num_llms = self.outcomes.error.shape
        steps = self.config.encoder_training.max_steps
        sizes = {"num_prompts": num_prompts, "num_llms": num_llms, "num_episodes": steps}
        return EpisodeDataset(**sizes, config=self.config.episodes, seed=0)

    def loss(self, head: ClusterHead, embedding: Tensor, prompts: Tensor) -> Tensor:
        """Cross-entropy where the first half of some prompts calibrates."""
        error, observed = self.outcomes.error[prompts], self.outcomes.observed[prompts]
        half = len(prompts) // 2
        calibration = Outcomes(embedding[:half], error[:half], observed[:half])
        target = Outcomes(embedding[half:], error[half:], observed[half:])
        estimated = estimate_targets(head, EpisodeOutcomes(calibration, target))
        return cross_entropy(estimated, target.error, target.observed)


def make_work(
    encoder: PromptEncoder, texts: list[str], sizes: dict[str, int], embedding: Tensor, num_steps: int
) -> Work:
    """Made outcomes; ``sizes`` are those of the batch, the LLMs and the clusters."""
    generator, half = torch.Generator().manual_seed(0), sizes["batch"] // 2
    error = torch.randint(2, (len(texts), sizes["llms"]), generator=generator).float()
    config = TrainConfig(
        episodes=EpisodeConfig(num_targets=half, min_calibration=half, max_calibration=half, llm_fraction=1.0),
        encoder_training=EncoderTrainingConfig(mode="full", num_prompts=2 * half, max_steps=num_steps),
        trainer=TrainerConfig(accelerator="cpu"),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = ClusterHead(encoder.dim, sizes["clusters"])
    return Work(encoder, head, texts, Outcomes(embedding, error, torch.ones_like(error, dtype=torch.bool)), config)


def train_jointly(work: Work) -> list[float]:
    """What ``encoder_training.mode: full`` does, without validation."""
    config = work.config
    rows = torch.arange(len(work.texts))
    tables = JointTables(work.texts, [JointPart(work.outcomes, rows)], [], num_calibration=1, seed=0)
    encoder = make_trainable(work.encoder, work.texts, config.encoder_training, cache_dir=Path(), seed=0)
    module = JointModule(encoder, copy.deepcopy(work.head).train(), tables, config)
    steps = config.encoder_training.max_steps
    with quiet_lightning():
        clip = config.encoder_training.gradient_clip
        trainer = build_trainer(
            config, max_steps=steps, limit_val_batches=0, gradient_clip_val=clip, logger=False, callbacks=[]
        )
        trainer.fit(module, DataLoader(work.episodes(), batch_size=None))
    return module.losses


def train_plainly(work: Work) -> list[float]:
    """As one writes it down in torch: all prompts of an episode are one padded batch."""
    encoder = copy.deepcopy(work.encoder).requires_grad_(True)
    head, settings = copy.deepcopy(work.head).train(), work.config.encoder_training
    parameters = [*encoder.parameters(), *head.parameters()]
    rates = ((encoder, settings.learning_rate), (head, work.config.optimizer.learning_rate))
    groups = [{"params": list(module.parameters()), "lr": rate} for module, rate in rates]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = build_schedule(optimizer, work.config.optimizer, settings.max_steps)
    losses = []
    for prompts in prompts_of(work.episodes()):
        embedding = encoder(**encoder.tokenize([work.texts[row] for row in prompts.tolist()]))
        loss = work.loss(head, embedding, prompts)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, settings.gradient_clip)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def prompts_of(episodes: EpisodeDataset) -> Iterator[Tensor]:
    """The prompts of each episode, those that calibrate before the targets."""
    for number in range(len(episodes)):
        episode: Episode = episodes[number]
        yield torch.cat([episode.calibration, episode.target])


class EpisodeLoss(nn.Module):
    """The same loss as sentence-transformers wants it: a label is the number of a prompt."""

    def __init__(self, model: Any, work: Work) -> None:
        super().__init__()
        self.model = model
        self.head = copy.deepcopy(work.head)
        self.work = work

    def forward(self, sentence_features: Any, labels: Tensor) -> Tensor:
        """Cross-entropy of one batch."""
        (features,) = sentence_features
        return self.work.loss(self.head, self.model(features)["sentence_embedding"], labels)


def train_by_sentence_transformers(reference: Any, work: Work) -> list[float]:
    """The trainer of sentence-transformers with the same loss, batches, steps and learning rate, without dropout."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from transformers import PrinterCallback

    model = copy.deepcopy(reference)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    settings, rows = work.config.encoder_training, torch.cat(list(prompts_of(work.episodes()))).tolist()
    data = Dataset.from_dict({"prompt": [work.texts[row] for row in rows], "label": rows})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=settings.num_prompts,
            max_steps=settings.max_steps,
            learning_rate=settings.learning_rate,
            max_grad_norm=settings.gradient_clip,
            use_cpu=True,
            save_strategy="no",
            logging_strategy="steps",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
        )
        trainer = SentenceTransformerTrainer(
            model=model, args=arguments, train_dataset=data, loss=EpisodeLoss(model, work)
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def benchmark_trainers(work: Work, repeats: int) -> dict[str, Any]:
    """Time and memory of all ways, everything from the frozen encoder to the last step, and their losses."""
    ways: dict[str, Callable[[Work], list[float]]] = {"unirouter": train_jointly, "plain_loop": train_plainly}
    if importlib.util.find_spec("sentence_transformers") is not None:
        reference = reference_encoder(work.encoder, "cpu")
        ways["sentence_transformers"] = partial(train_by_sentence_transformers, reference)
    losses: dict[str, list[float]] = {}

    def train(name: str) -> None:
        losses[name] = ways[name](work)

    seconds, peaks = time_all({name: partial(train, name) for name in ways}, repeats)
    steps = work.config.encoder_training.max_steps
    return {
        "num_prompts": work.config.encoder_training.num_prompts,
        "num_steps": steps,
        "losses": losses,
        "seconds_per_step": {name: taken / steps for name, taken in seconds.items()},
        "peak_bytes": peaks,
        "times_as_fast": {name: taken / seconds["unirouter"] for name, taken in seconds.items() if name != "unirouter"},
    }


def benchmark_growth(make: Callable[[dict[str, int]], Work], base: dict[str, int], quick: bool) -> list[dict[str, Any]]:
    """Time and memory of our step as one size grows and the others stay."""
    growth = QUICK_GROWTH if quick else GROWTH
    rows = []
    for sizes in progress([base | {name: size} for name in growth for size in growth[name]], "Growth"):
        work = make(sizes)
        seconds, peaks = time_all({"unirouter": partial(train_jointly, work)}, 1)
        steps = work.config.encoder_training.max_steps
        rows.append(sizes | {"seconds_per_step": seconds["unirouter"] / steps, "peak_bytes": peaks["unirouter"]})
    return rows


def print_results(results: dict[str, Any]) -> None:
    """Two tables."""
    found = results["trainers"]
    print_table(
        "way | seconds a step | its time / ours | MB | first loss",
        [
            (name, taken, found["times_as_fast"].get(name, 1.0), megabytes(found["peak_bytes"][name]), losses[0])
            for (name, taken), losses in zip(found["seconds_per_step"].items(), found["losses"].values(), strict=True)
        ],
    )
    rows = [
        (row["batch"], row["llms"], row["clusters"], row["seconds_per_step"], megabytes(row["peak_bytes"]))
        for row in results["growth"]
    ]
    print_table("prompts | LLMs | clusters | seconds a step | MB", rows)


def megabytes(size: int | None) -> float | str:
    """Of a peak, where the system tells it."""
    return "not known" if size is None else size / 1e6


def benchmark(options: argparse.Namespace) -> None:
    """Measure on one thread, write and print."""
    for name, least in (("batch", 2), ("repeats", 1), ("steps", 1), ("llms", 1), ("clusters", 1)):
        at_least(f"--{name}", getattr(options, name), least)
    torch.set_num_threads(1)
    base = {"batch": options.batch, "llms": options.llms, "clusters": options.clusters}
    largest = max(options.batch, *(QUICK_GROWTH if options.quick else GROWTH)["batch"])
    texts = some_prompts(options.table, 2 * largest)
    if len(texts) < largest:
        raise DataError(f"{options.table}: has {len(texts)} prompts, expected at least the {largest} of a batch.")
    encoder = PromptEncoder.from_pretrained(options.encoder)
    embedding = encoder.embed(texts)

    def make(sizes: dict[str, int]) -> Work:
        return make_work(encoder, texts, sizes, embedding, options.steps)

    results = {
        "encoder": options.encoder,
        "table": options.table,
        "repeats": options.repeats,
        "trainers": benchmark_trainers(make(base), options.repeats),
        "growth": benchmark_growth(make, base, options.quick),
    }
    write_json(options.output, results)
    print_results(results)


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--table", default="simulated", metavar="PATH", help=f"its prompts are used; {default}")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, metavar="NAME", help=f"hub id or folder; {default}")
    parser.add_argument("--batch", type=int, default=32, metavar="N", help=f"prompts in a step; {default}")
    parser.add_argument("--llms", type=int, default=30, metavar="N", help=default)
    parser.add_argument("--clusters", type=int, default=32, metavar="N", help=default)
    parser.add_argument("--steps", type=int, default=4, metavar="N", help=default)
    parser.add_argument("--repeats", type=int, default=2, metavar="N", help=f"the least time counts; {default}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes once, to see that everything runs")
    options = parser.parse_args()
    if options.quick:
        options.batch, options.llms, options.clusters, options.steps, options.repeats = 8, 5, 4, 2, 1
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
