"""Compute the published comparisons that docs/evidence/*.json lacks, and write their tables into the docs.

python scripts/publish_results.py                  # what is missing, for hours; interrupted, it goes on
python scripts/publish_results.py --tables-only    # computes nothing

A JSON file holds area and squared error of every trial; joint_training.py computes joint_*.json. A table stands
between two comments of its page. To compute trials again, after a change that moves numbers, delete them from the file.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from compare_encoders import Trials, run_trials, summary, table_name
from joint_training import CONFIGS, FROZEN

from unirouter_torch.cli.output import guarded
from unirouter_torch.errors import ConfigError
from unirouter_torch.storage import read_json, write_atomically

ROOT = Path(__file__).parents[1]
EVIDENCE = ROOT / "docs" / "evidence"
TRIALS = "encoders.json"

LARGE = [f"configs/research/trials_{name}.yaml" for name in ("mmlu_pro", "zeroeval", "llmrouter")]
SMALL = [f"configs/research/trials_{name}.yaml" for name in ("farel_bench", "eq_bench")]
FOLDERS = [
    f"../shared/data/{name}" for name in ("mmlu_pro", "zeroeval", "llmrouter_default", "farel_bench", "eq_bench_v2")
]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
STATIC = "unirouter-static"
TITLES = {
    "mmlu_pro": "MMLU-Pro",
    "zeroeval": "ZeroEval",
    "llmrouter": "LLMRouter",
    "farel_bench": "FaReL",
    "eq_bench": "EQ-Bench",
}


class PublishedTable(NamedTuple):
    """One table of the docs: some contenders beside a reference, on the trials that both have.

    Attributes:
        page: The page, in docs/evidence.
        reference: What the others are compared with, as ``compare_encoders.py`` has it.
        contenders: The others, with what the table calls them.
        trials: How many of which tables to compute.
        file: Where the trials are, in docs/evidence.
    """

    page: str
    reference: str
    contenders: Mapping[str, str]
    trials: Sequence[tuple[Sequence[str], int]]
    file: str = TRIALS


def trials_in(file: str) -> dict[str, dict[str, Trials]]:
    """Trials of a file in docs/evidence, by table and contender; none where it is missing."""
    found: dict[str, dict[str, Trials]] = read_json(EVIDENCE / file) if (EVIDENCE / file).exists() else {}
    return found


def ways_in(file: str) -> dict[str, str]:
    """The ways of a file of joint_training.py, called as there."""
    return {way: way for ways in trials_in(file).values() for way in ways if way != FROZEN}


TABLES = {
    "static": PublishedTable("ablations.md", MINILM, {STATIC: "static"}, [(LARGE, 30), (SMALL, 40)]),
    "form": PublishedTable(
        "ablations.md", MINILM, {f"{MINILM}+encoder.form_weight=1": "MiniLM with form"}, [(LARGE, 30), (SMALL, 40)]
    ),
    "left_out": PublishedTable(
        "bundled_router.md",
        f"{STATIC}@kmeans",
        {
            f"{STATIC}@travelling+data.tables=[{', '.join(FOLDERS)}]": "travelling",
            f"{STATIC}@zero": "ZeroRouter",
            STATIC: "end-to-end fitted there",
        },
        [(LARGE, 30), (SMALL, 40)],
    ),
    **{
        name: PublishedTable("ablations.md", FROZEN, ways_in(f"{name}.json"), [(CONFIGS, 0)], f"{name}.json")
        for name in ("joint_drafts", "joint_inner", "joint_outer")
    },
}
"""By the name in the comments of the page."""

HEADS = (
    "table",
    "router",
    "trials",
    "area / squared error",
    "the reference's",
    "area: difference [95% interval], won : lost",
    "squared error: difference [95% interval], won : lost",
)


def table_lines(table: PublishedTable, found: Mapping[str, Mapping[str, Trials]]) -> Iterator[str]:
    """The table in Markdown, without the rows of which no trial was computed."""
    rows = list(_rows(table, found))
    heads = (f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|")
    yield from (*heads, *rows) if rows else ("No trial was run so far.",)


def _rows(table: PublishedTable, found: Mapping[str, Mapping[str, Trials]]) -> Iterator[str]:
    for path in dict.fromkeys(path for paths, _ in table.trials for path in paths):
        reference = found.get(table_name(path), {}).get(table.reference, {})
        for words, title in table.contenders.items():
            trials = found.get(table_name(path), {}).get(words, {})
            if trials.keys() & reference.keys():
                yield f"| {TITLES[table_name(path)]} | {title} | {' | '.join(summary(trials, reference))} |"


def with_tables(page: str, text: str) -> str:
    """The text of a page with its tables written anew.

    Raises:
        ConfigError: The page lacks the comments of a table.
    """
    for name, table in TABLES.items():
        if table.page == page:
            begin, end = f"<!-- results: {name} -->\n", "<!-- end of results -->"
            if begin not in text or end not in text[text.index(begin) :]:
                raise ConfigError(
                    f"{page}: expected {begin.strip()} and {end} after it. Add both, with nothing between."
                )
            before, after = text.split(begin, maxsplit=1)
            lines = "\n".join(table_lines(table, trials_in(table.file)))
            text = f"{before}{begin}\n{lines}\n\n{after[after.index(end) :]}"
    return text


def publish(options: argparse.Namespace) -> None:
    """Compute what is missing, then write the tables."""
    for table in () if options.tables_only else TABLES.values():
        for paths, trials in table.trials if table.file == TRIALS else ():
            contenders = [table.reference, *table.contenders]
            output = EVIDENCE / table.file
            run_trials(argparse.Namespace(output=output, configs=paths, contenders=contenders, trials=trials))
    for page in {table.page for table in TABLES.values()}:
        write_atomically(EVIDENCE / page, with_tables(page, (EVIDENCE / page).read_text()).encode())


def main() -> int:
    """Parse and publish; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables-only", action="store_true", help="compute nothing, write what the file has")
    options = parser.parse_args()
    return guarded(lambda: publish(options))


if __name__ == "__main__":
    sys.exit(main())
