"""Headlines: what 12 commercial LLMs say about gold prices in news headlines (Chen et al., FrugalGPT, 2023)."""

import ast
import contextlib
import csv
import re
import sqlite3
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from unirouter_torch.data.public.columns import outcome_table, require_columns
from unirouter_torch.data.public.pickles import load_pickle
from unirouter_torch.data.public.source import PublicTable, WebFiles, places_in
from unirouter_torch.data.sources import SourceTables
from unirouter_torch.errors import DataError

_CACHE, _QUERIES = "HEADLINES.sqlite", ("train.csv", "test.csv")
_COMMIT = "41b5bbfaa1126fdc10b51253a6cacd303719fc0b"
_CODE = f"https://raw.githubusercontent.com/stanford-futuredata/FrugalGPT/{_COMMIT}/data/HEADLINES"
_LLMS = {
    "0": "openai/text-davinci-002",
    "1": "openai/text-curie-001",
    "1000": "openaichat/gpt-3.5-turbo",
    "2000": "openaichat/gpt-4",
    "20000": "ai21/j1-jumbo",
    "20001": "ai21/j1-grande",
    "20002": "ai21/j1-large",
    "30000": "cohere/xlarge",
    "30001": "cohere/medium",
    "60000": "textsynth/gptneox_20B",
    "60001": "textsynth/fairseq_gpt_13B",
    "60002": "textsynth/gptj_6B",
}
"""Names of the LLMs that the cache numbers; others stand there by name."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read(folder: Path) -> SourceTables:
    """Read the questions with their right answers, and the cache of answers: a table of pickled dictionaries.

    The score is 1 where answer and right answer are the same words, apart from case, punctuation and articles; the
    mean where an LLM was asked the same headline several times.

    Args:
        folder: Where the three files are.

    Returns:
        The headlines that any LLM answered, without the examples that went before them.

    Raises:
        DataError: A file is not of this form, a pickle holds more than plain values, or no answer fits a headline.
    """
    queries = {query: row for name in _QUERIES for query, row in _queries(folder / name)}
    columns: dict[str, list[object]] = {"prompt_id": [], "model_id": [], "score": [], "cost_usd": []}
    for place, key, answer in _answers(folder / _CACHE):
        query = "Q:" + key["query"].rpartition("Q:")[2]
        if query not in queries:
            continue
        prompt_id, right = queries[query]
        llm = _LLMS.get(str(key["service_id"]), str(key["service_id"]))
        require_columns(answer, ("completion",), place)
        row = (prompt_id, llm, float(_words(answer["completion"]) == _words(right)), answer.get("cost"))
        for column, value in zip(columns.values(), row, strict=True):
            column.append(value)
    if not columns["score"]:
        raise DataError(
            f"{folder / _CACHE}: got no answer to a headline of {' or '.join(_QUERIES)}, expected FrugalGPT's cache of "
            "them. Take the files named in docs/evidence/public_tables.md."
        )
    pairs = outcome_table(**columns).group_by(["prompt_id", "model_id"])
    pairs = pairs.aggregate([("score", "mean"), ("cost_usd", "mean")])
    answered = set(pairs["prompt_id"].to_pylist())
    headlines = {row[0]: _headline(query) for query, row in queries.items() if row[0] in answered}
    return SourceTables(
        prompts=pa.table({"prompt_id": list(headlines), "prompt": list(headlines.values())}),
        models=pa.table({"model_id": sorted(set(pairs["model_id"].to_pylist()))}),
        outcomes=outcome_table(
            prompt_id=pairs["prompt_id"],
            model_id=pairs["model_id"],
            score=pairs["score_mean"],
            cost_usd=pairs["cost_usd_mean"],
        ),
        places=places_in(folder, ", ".join((_CACHE, *_QUERIES))),
    )


def _queries(file: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each question with its name and its right answer; the files have no header."""
    with file.open(newline="", encoding="utf-8") as handle:
        for number, row in enumerate(csv.reader(handle), start=1):
            if len(row) != 3 or not row[0].startswith("Q:"):
                raise DataError(
                    f"{file}, row {number}: got {row}, expected a question that begins with 'Q:', its answer, a number."
                )
            yield row[0], (f"{file.stem}/{row[2]}", row[1])


def _answers(file: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Each entry of the cache: its place, what was asked, what came back."""
    expected = "expected FrugalGPT's cache, an SQLite file with a table 'unnamed' of keys and values"
    try:
        with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as cache:
            for number, (key, value) in enumerate(cache.execute("SELECT key, value FROM unnamed"), start=1):
                place = f"{file}, entry {number}"
                asked, answer = ast.literal_eval(key), load_pickle(value, allowed=(), place=place)
                require_columns(asked, ("service_id", "query"), place)
                yield place, asked, answer
    except DataError:
        raise
    except (sqlite3.Error, SyntaxError, ValueError, TypeError) as error:
        raise DataError(f"{file}: {expected} ({error}).") from error


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def _headline(query: str) -> str:
    return query.removeprefix("Q:").removesuffix("A:").strip()


TABLE = PublicTable(
    name="headlines",
    files=(_CACHE, *_QUERIES),
    origin=WebFiles(
        addresses={
            _CACHE: f"https://github.com/lchen001/DataHolder/releases/download/v0.0.1/{_CACHE}",
            **{name: f"{_CODE}/{name}" for name in _QUERIES},
        }
    ),
    licence="none found in the two repositories",
    read=read,
    holds_pickle=True,
    choices=(
        "The prompt is the headline alone, without 'Q:', 'A:' and the examples that the LLMs saw.",
        "Exact match after FrugalGPT's normalisation: case, punctuation, articles and spaces do not matter.",
        "Answers to the same headline with different settings are averaged.",
    ),
)
"""FrugalGPT's HEADLINES as its authors publish it."""
