"""Time the embedding of prompts against SentenceTransformer.encode with the same weights, precision and threads.

python scripts/benchmark_encoding.py --output runs/benchmark_encoding.json --tables simulated data/zeroeval
"""

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmark_scoring import print_table, time_all
from torch import Tensor

from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.config.router import DEFAULT_ENCODER
from unirouter_torch.data.load import load_table
from unirouter_torch.encoder.padding import batches_by_tokens, tokens_per_batch
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.errors import ConfigError
from unirouter_torch.storage import write_json

BATCH_SIZES = (8, 32, 128)
"""Prompts in a batch of sentence-transformers; 32 is what it does by default."""


def some_prompts(path: str, num_prompts: int) -> list[str]:
    """Prompts of a table, evenly from all of it: so they are as long as its prompts are."""
    texts = load_table(path, cost_rule="equal").prompt_texts
    return list(texts[:: max(1, len(texts) // num_prompts)])[:num_prompts]


def padded_share(lengths: list[int], batches: list[list[int]]) -> float:
    """Tokens that pass through the network, padding included, over those of the prompts."""
    return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches) / max(1, sum(lengths))


def reference_encoder(encoder: PromptEncoder, device: str) -> Any:
    """The same encoder in sentence-transformers, from files that say what it does with the tokens' vectors."""
    from sentence_transformers import SentenceTransformer

    with tempfile.TemporaryDirectory() as folder:
        encoder.save_pretrained(Path(folder))
        return SentenceTransformer(folder, device=device)


def benchmark_prompts(
    texts: list[str], encoder: PromptEncoder, reference: Any, options: argparse.Namespace
) -> dict[str, Any]:
    """The time of both, how far their embeddings differ, and where our time goes."""

    def encode(batch_size: int) -> Tensor:
        found = reference.encode(texts, batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False)
        embedding: Tensor = found.float().cpu()
        return embedding

    work: dict[str, Callable[[], Any]] = {
        "unirouter": lambda: encoder.embed(texts),
        "tokenize": lambda: encoder.tokenize_rows(texts),
    }
    if reference is not None:
        work |= {f"sentence_transformers_{size}": partial(encode, size) for size in options.batch_sizes}
    difference = None if reference is None else float((encoder.embed(texts) - encode(32)).abs().max())
    on_the_clock = options.device != "cpu" or options.threads > 1
    seconds, peaks = time_all(work, options.repeats, on_the_clock=on_the_clock)
    theirs = {name: taken for name, taken in seconds.items() if name.startswith("sentence_transformers")}
    lengths = [len(row) for row in encoder.tokenize_rows(texts)]
    device = next(encoder.parameters()).device
    return {
        "num_prompts": len(texts),
        "num_tokens": sum(lengths),
        "padded_share": padded_share(lengths, batches_by_tokens(lengths, tokens_per_batch(device))),
        "seconds": seconds,
        "peak_bytes": peaks,
        "tokenize_share": seconds["tokenize"] / seconds["unirouter"],
        "times_as_fast": {name: taken / seconds["unirouter"] for name, taken in theirs.items()},
        "largest_difference": difference,
    }


def print_results(results: dict[str, Any]) -> None:
    """One row for each table; above 1 is a ratio in our favour."""
    sizes = results["batch_sizes"]
    heads = [f"sentence-transformers by {size} / ours" for size in sizes]
    print_table(
        " | ".join(
            ["table", "prompts", "tokens each", "padded / real", "tokenizing / all", *heads, "largest difference"]
        ),
        [
            [
                row["table"],
                row["num_prompts"],
                row["num_tokens"] / row["num_prompts"],
                row["padded_share"],
                row["tokenize_share"],
                *(row["times_as_fast"].get(f"sentence_transformers_{size}", "not installed") for size in sizes),
                "not known" if row["largest_difference"] is None else f"{row['largest_difference']:.1e}",
            ]
            for row in results["encoding"]
        ],
    )


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    for name in ("prompts", "repeats", "threads"):
        at_least(f"--{name}", getattr(options, name), 1)
    at_least("--batch-sizes", min(options.batch_sizes), 1)
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: got cuda, but torch finds no such GPU here. Write --device cpu.")
    torch.set_num_threads(options.threads)
    tables = {path: some_prompts(path, options.prompts) for path in options.tables}
    encoder = PromptEncoder.from_pretrained(options.encoder)
    installed = importlib.util.find_spec("sentence_transformers") is not None
    reference = reference_encoder(encoder, options.device) if installed else None
    for network in filter(None, (encoder, reference)):
        network.to(options.device, torch.bfloat16 if options.precision == "bf16" else torch.float32)
    results = {
        "encoder": options.encoder,
        "precision": options.precision,
        "device": options.device,
        "threads": options.threads,
        "repeats": options.repeats,
        "batch_sizes": options.batch_sizes,
        "encoding": [
            {"table": path} | benchmark_prompts(texts, encoder, reference, options) for path, texts in tables.items()
        ],
    }
    write_json(options.output, results)
    print_results(results)


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--tables", nargs="+", default=["simulated"], metavar="PATH", help=f"as data.path; {default}")
    parser.add_argument("--encoder", default=DEFAULT_ENCODER, metavar="NAME", help=f"hub id or folder; {default}")
    parser.add_argument("--prompts", type=int, default=500, metavar="N", help=f"of each table at most; {default}")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=default)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=default)
    parser.add_argument("--threads", type=int, default=1, metavar="N", help=f"of torch; {default}")
    parser.add_argument(
        "--batch-sizes", type=int, nargs="+", default=BATCH_SIZES, metavar="N", help=f"of the reference; {default}"
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help=f"the least time counts; {default}")
    parser.add_argument("--quick", action="store_true", help="16 prompts once, to see that everything runs")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.repeats = 16, 1
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
