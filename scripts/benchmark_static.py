"""Time the way from text to choice with a static encoder, against a transformer and model2vec, on one thread.

python scripts/benchmark_static.py --output runs/benchmark_static.json --tables simulated ../shared/data/zeroeval
"""

import os

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}  # before the tokenizers are loaded

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from benchmark_encoding import some_prompts
from benchmark_scoring import print_table, time_all

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.router import DEFAULT_ENCODER
from unirouter_torch.encoder.form import count_bytes
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.encoder.static_encoder import StaticEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.storage import write_json

NUM_CLUSTERS, NUM_LLMS = 32, 50
"""Of the head and the pool behind the encoders; they are made up, as only time counts."""


class Choices:
    """A made-up head and pool behind an encoder, in plain torch: so the ways differ in nothing but the embedding."""

    def __init__(self, dim: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.head = torch.randn(dim, NUM_CLUSTERS, generator=generator)
        self.error = torch.rand(NUM_CLUSTERS, NUM_LLMS, generator=generator)
        self.cost = torch.rand(NUM_LLMS, generator=generator)

    def __call__(self, embedding: torch.Tensor) -> torch.Tensor:
        """Column of the LLM with the smallest estimated error plus weighted cost."""
        return ((embedding @ self.head).softmax(-1) @ self.error + 0.1 * self.cost).argmin(-1)


def benchmark_prompts(texts: list[str], static: StaticEncoder, slow: PromptEncoder, slow_share: int) -> dict[str, Any]:
    """Processor seconds for each prompt, from text to choice, and of the parts of the static way."""
    behind, some = Choices(static.dim), texts[::slow_share]
    rows = static.tokenize_rows(texts)
    work: dict[str, Callable[[], Any]] = {
        "static": lambda: behind(static.embed(texts)),
        "tokenize": lambda: static.tokenize_rows(texts),
        "look up": lambda: static.embed_rows(rows),
        "form": lambda: static.form(count_bytes(texts)) if static.form is not None else None,
    }
    if importlib.util.find_spec("model2vec") is not None:
        from model2vec import StaticModel

        with tempfile.TemporaryDirectory() as folder:
            static.save_pretrained(Path(folder))
            reference = StaticModel.from_pretrained(folder)
        plain = Choices(static.text_dim)
        work["model2vec"] = lambda: plain(torch.from_numpy(reference.encode(texts, max_length=None)).float())
    with torch.inference_mode():
        seconds, _ = time_all(work, 3)
        behind_slow = Choices(slow.dim)
        slow_seconds, _ = time_all({"transformer": lambda: behind_slow(slow.embed(some))}, 1)
    each = {name: taken / len(texts) for name, taken in seconds.items()}
    each["transformer"] = slow_seconds["transformer"] / len(some)
    ways = [name for name in ("transformer", "model2vec") if name in each]
    return {
        "num_prompts": len(texts),
        "characters_each": sum(map(len, texts)) / len(texts),
        "seconds_each": each,
        "times_as_fast": {name: each[name] / each["static"] for name in ways},
    }


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    at_least("--prompts", options.prompts, 1)
    torch.set_num_threads(1)
    static = PromptEncoder.from_pretrained(options.encoder)
    if not isinstance(static, StaticEncoder):
        raise ConfigError(f"--encoder: got {options.encoder}, which is a transformer; expected a static encoder.")
    slow = PromptEncoder.from_pretrained(options.transformer)
    results = [
        {"table": path} | benchmark_prompts(some_prompts(path, options.prompts), static, slow, options.slow_share)
        for path in options.tables
    ]
    write_json(options.output, {"encoder": options.encoder, "transformer": options.transformer, "tables": results})
    print_table(
        "table | prompts | characters each | prompts a second | tokenizing / all | look-up / all | form / all | "
        "times the transformer | times model2vec",
        [
            [
                row["table"],
                row["num_prompts"],
                row["characters_each"],
                1 / row["seconds_each"]["static"],
                *(
                    row["seconds_each"][part] / row["seconds_each"]["static"]
                    for part in ("tokenize", "look up", "form")
                ),
                row["times_as_fast"]["transformer"],
                row["times_as_fast"].get("model2vec", "not installed"),
            ]
            for row in results
        ],
    )


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--tables", nargs="+", default=["simulated"], metavar="PATH", help=f"as data.path; {default}")
    parser.add_argument("--encoder", default="unirouter-static", metavar="NAME", help=f"static; {default}")
    parser.add_argument("--transformer", default=DEFAULT_ENCODER, metavar="NAME", help=default)
    parser.add_argument("--prompts", type=int, default=2000, metavar="N", help=f"of each table at most; {default}")
    parser.add_argument(
        "--slow-share", type=int, default=20, metavar="N", help=f"the transformer sees every Nth; {default}"
    )
    options = parser.parse_args()
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
