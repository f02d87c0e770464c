"""Route an archive of a million prompts from Parquet shards to choices: rows a second, and memory as it goes on.

python scripts/benchmark_archive.py --output runs/benchmark_archive.json --router router --table ../shared/data/zeroeval
"""

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from benchmark_scoring import print_table

from unirouter_torch.archives.score import Worker, score_archive
from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.cli.output import guarded
from unirouter_torch.config.checks import at_least
from unirouter_torch.data.load import load_table
from unirouter_torch.router.router import Router
from unirouter_torch.storage import write_json


def write_shards(texts: list[str], num_prompts: int, num_shards: int, folder: Path) -> None:
    """Prompts of a table, repeated and shuffled; each ends with a number of its own, so that no two are equal."""
    order = list(range(num_prompts))
    random.Random(0).shuffle(order)
    folder.mkdir()
    for shard in range(num_shards):
        prompts = [f"{texts[number % len(texts)]} {number}" for number in order[shard::num_shards]]
        pq.write_table(pa.table({"prompt": prompts}), folder / f"{shard:04}.parquet")


def resident_bytes() -> int:
    """Memory of this process that is in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def benchmark_router(router: str, texts: list[str], num_prompts: int, num_shards: int, room: Path) -> dict[str, Any]:
    """One router over an archive of so many prompts; the first shard warms up and does not count."""
    shards, folder = room / f"shards_{num_prompts}", Path(tempfile.mkdtemp(dir=room))
    if not shards.exists():
        write_shards(texts, num_prompts, num_shards, shards)
    loaded, passed = Router.from_pretrained(router), []
    for shard in range(num_shards):
        score_archive(loaded, str(shards), folder, ScoreSettings(), Worker(number=shard, count=num_shards))
        passed.append({"seconds": time.monotonic(), "cpu": time.process_time(), "resident": resident_bytes()})
    first, last, tenth = passed[0], passed[-1], passed[max(1, num_shards // 10) - 1]
    counted = num_prompts * (num_shards - 1) / num_shards
    seconds, cpu = (last[name] - first[name] for name in ("seconds", "cpu"))
    return {
        "router": router,
        "num_prompts": num_prompts,
        "rows_per_second": counted / seconds,
        "cores_busy": cpu / seconds,
        "rows_per_cpu_second": counted / cpu,
        "hours_per_million": 1e6 / (counted / seconds) / 3600,
        "resident_at_a_tenth": tenth["resident"],
        "resident_at_the_end": last["resident"],
    }


def benchmark(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    at_least("--shards", options.shards, 2)
    at_least("--prompts", min(options.prompts, options.slow_prompts), options.shards)
    torch.set_num_threads(options.threads)
    texts = list(load_table(options.table, cost_rule="equal").prompt_texts)
    sizes = [(router, options.prompts) for router in options.router]
    sizes += [(router, options.slow_prompts) for router in options.slow_router]
    with tempfile.TemporaryDirectory() as room:
        rows = [
            benchmark_router(router, texts, num_prompts, options.shards, Path(room)) for router, num_prompts in sizes
        ]
    characters = sum(map(len, texts)) / len(texts)
    write_json(options.output, {"table": options.table, "characters_each": characters, "routers": rows})
    print_table(
        "router | prompts | rows a second | cores busy | rows a processor second | hours for a million "
        "| MB at a tenth | MB at the end",
        [
            [
                *(row[name] for name in ("router", "num_prompts", "rows_per_second", "cores_busy")),
                *(row[name] for name in ("rows_per_cpu_second", "hours_per_million")),
                *(row[f"resident_at_{when}"] / 1e6 for when in ("a_tenth", "the_end")),
            ]
            for row in rows
        ],
    )


def main() -> int:
    """Parse and measure; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = "default: %(default)s"
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    parser.add_argument("--router", nargs="+", required=True, metavar="DIR", help="saved routers, over all prompts")
    parser.add_argument("--slow-router", nargs="*", default=[], metavar="DIR", help="saved routers, over few prompts")
    parser.add_argument("--table", default="simulated", metavar="PATH", help=f"whose prompts, as data.path; {default}")
    parser.add_argument("--prompts", type=int, default=10**6, metavar="N", help=default)
    parser.add_argument("--slow-prompts", type=int, default=1000, metavar="N", help=default)
    parser.add_argument("--shards", type=int, default=20, metavar="N", help=f"at least 2; {default}")
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), metavar="N", help=f"of torch; {default}"
    )
    options = parser.parse_args()
    return guarded(lambda: benchmark(options))


if __name__ == "__main__":
    sys.exit(main())
