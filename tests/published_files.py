"""Small invented files in the very form in which the public tables are published."""

import csv
import io
import json
import pickle
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

EMBEDLLM_COLUMNS = ("prompt_id", "model_id", "model_name", "category_id", "category", "label", "prompt")
HEADLINES = {"gold climbs": "up", "gold, silver slip": "down"}


def write_csv(file: Path, header: tuple[str, ...] | None, rows: list[tuple[Any, ...]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([header, *rows] if header else rows)


def embedllm(folder: Path) -> None:
    """Prompt 1 stands in two task variants that disagree for wren; prompt 3 was answered by one LLM alone."""
    heron, wren, owl = (0, "berkeley__Heron-LM-7B-alpha"), (1, "microsoft__phi-2"), (2, "nobody__owl")
    song = 'Sing, "otter",\nof rivers.'
    train = [
        (1, *heron, 5, "gpqa_main", 1, song),
        (1, *heron, 6, "gpqa_extended", 1, song),
        (1, *wren, 5, "gpqa_main", 0, song),
        (1, *wren, 6, "gpqa_extended", 1, song),
        (1, *owl, 5, "gpqa_main", 0, song),
        (2, *heron, 7, "piqa", 0, "2 + 2?"),
        (2, *wren, 7, "piqa", 1, "2 + 2?"),
    ]
    for name, rows in {"train": train, "val": [(3, *owl, 7, "piqa", 1, "3 + 3?")], "test": []}.items():
        write_csv(folder / f"{name}.csv", EMBEDLLM_COLUMNS, rows)


def routerbench_frame() -> pd.DataFrame:
    """Two prompts, two LLMs; texts and scores are objects, as in the published file."""
    columns = {
        "sample_id": ["sums.dev.1", "talk.dev.2"],
        "prompt": ["['Add.', '2 + 2?']", 'Say it\'s "hm".'],
        "eval_name": ["sums", "talk"],
        "owl/owl-7b": [1.0, 0.25],
        "wren": [0.0, None],
        "owl/owl-7b|model_response": ["['4']", "['hm', 'hm']"],
        "wren|model_response": ["['5']", "['']"],
        "owl/owl-7b|total_cost": [0.5, 0.25],
        "wren|total_cost": [0.125, 0.0625],
        "oracle_model_to_route_to": ["owl/owl-7b", "no_model_correct"],
    }
    kinds = {name: float if name.endswith("cost") else object for name in columns}
    frame = pd.DataFrame({name: pd.Series(values, dtype=kinds[name]) for name, values in columns.items()})
    frame.columns = pd.Index(list(columns), dtype=object)
    return frame


def routerbench(folder: Path) -> None:
    (folder / "routerbench_0shot.pkl").write_bytes(pickle.dumps(routerbench_frame(), protocol=4))


def sprout_answer(score: float | None, num_input: int, num_output: int) -> dict[str, Any]:
    return {
        "num_input_tokens": num_input,
        "num_output_tokens": num_output,
        "response": "so be it",
        "score": score,
        "judge_response": "fine",
    }


def sprout(folder: Path) -> None:
    """A prompt in each split; one LLM without a known price, one answer without a score."""
    (folder / "data").mkdir()
    answers = {"train": (1.0, 0.5), "validation": (0.75, 0.0), "test": (None, 1.0)}
    for row, (split, (mini, owl)) in enumerate(answers.items()):
        columns = {
            "key": [f"math-{row}"],
            "dataset": ["math"],
            "dataset_level": [None],
            "dataset_idx": [row],
            "prompt": [f"{row} + 2?"],
            "golden_answer": [str(row + 2)],
            "openai-o3-mini": [sprout_answer(mini, 1000, 2000)],
            "owl": [sprout_answer(owl, 10, 20)],
        }
        pq.write_table(pa.table(columns), folder / "data" / f"{split}-00000-of-00001.parquet")


def mixinstruct_record(number: int, source: str, *answers: tuple[str, str, float | None]) -> dict[str, Any]:
    return {
        "id": f"{source}/{number}",
        "instruction": "Add." if number % 2 else "",
        "input": f"{number} + 2?",
        "output": str(number + 2),
        "candidates": [
            {
                "decoding_method": "top_p_sampling",
                "model": llm,
                "text": text,
                "scores": {"logprobs": -0.02, "bleu": 5.6, "bertscore": 0.75, "bartscore": value},
            }
            for llm, text, value in answers
        ],
        "cmp_results": None,
    }


def mixinstruct(folder: Path) -> None:
    both = (("vicuna-13b-1.1", "three", -0.5), ("flan-t5-xxl", "3", 0.0))
    records = {
        "train": [mixinstruct_record(1, "dolly_15k", *both), mixinstruct_record(2, "sharegpt", both[0])],
        "val": [mixinstruct_record(1, "dolly_15k", ("owl", "?", None), both[1])],
        "test": [mixinstruct_record(3, "itwgpt4", ("owl", "hm", -3.0))],
    }
    for split, rows in records.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}_data_prepared.jsonl").write_text(lines, encoding="utf-8")


def headlines_key(llm: str, headline: str, max_tokens: int = 50) -> str:
    query = f"Which way?\n\nQ: gold rests\nA: none\n\nQ: {headline}\nA:"
    settings = {"max_tokens": max_tokens, "temperature": 0.1, "stop": ["\n"], "date": "20230301"}
    return repr({**settings, "service_id": llm, "query": query})


def headlines_cache(folder: Path, entries: dict[str, Any]) -> None:
    file = folder / "HEADLINES.sqlite"
    file.unlink(missing_ok=True)
    with sqlite3.connect(file) as cache:
        cache.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        cache.executemany("INSERT INTO unnamed VALUES (?, ?)", [(k, pickle.dumps(v)) for k, v in entries.items()])
    cache.close()


def headlines(folder: Path) -> None:
    """GPT-4 was asked one headline twice, with different settings; one entry belongs to no headline."""
    rows = [(f"Q: {text}\nA:", answer, str(number)) for number, (text, answer) in enumerate(HEADLINES.items())]
    write_csv(folder / "train.csv", None, rows[:1])
    write_csv(folder / "test.csv", None, rows[1:])
    headlines_cache(
        folder,
        {
            headlines_key("2000", "gold climbs"): {"completion": " Up.", "cost": 0.25, "raw": {"usage": {}}},
            headlines_key("2000", "gold climbs", 20): {"completion": "down", "cost": 0.75},
            headlines_key("2000", "gold, silver slip"): {"completion": "down", "cost": 0.5, "latency": 1.5},
            headlines_key("ai21/j2-mid", "gold climbs"): {"completion": " none"},
            headlines_key("2000", "silver climbs"): {"completion": " up", "cost": 9.0},
        },
    )


def llmrouterbench_record(index: int, score: float | None, cost: float = 0.5) -> dict[str, Any]:
    return {
        "index": index,
        "origin_query": f"{index} + 2?",
        "prompt": f"Answer in a box. {index} + 2?",
        "prediction": "4",
        "ground_truth": "4",
        "score": score,
        "prompt_tokens": 9,
        "completion_tokens": 7,
        "cost": cost,
        "raw_output": "4",
    }


def llmrouterbench_archive(folder: Path, files: dict[str, list[dict[str, Any]]]) -> None:
    with tarfile.open(folder / "bench-release.tar.gz", "w:gz") as archive:
        for name, records in files.items():
            content = json.dumps({"performance": 0.5, "counts": len(records), "records": records}).encode()
            member = tarfile.TarInfo(f"bench-release/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def llmrouterbench(folder: Path) -> None:
    """Two runs of one LLM, of which the later counts; an LLM outside the pool; an answer without a score."""
    llmrouterbench_archive(
        folder,
        {
            "aime/test/gpt-5/20251102.json": [llmrouterbench_record(1, 1.0), llmrouterbench_record(2, 0.0, 0.25)],
            "aime/test/gpt-5/20251001.json": [llmrouterbench_record(1, 0.0), llmrouterbench_record(2, 0.0)],
            "aime/test/Qwen3-8B/20251001.json": [llmrouterbench_record(1, 1.0, 0.0)],
            "tau2/test/glm-4.6/20251001.json": [llmrouterbench_record(1, 0.5), llmrouterbench_record(2, None)],
        },
    )


WRITERS: dict[str, Callable[[Path], None]] = {
    "embedllm": embedllm,
    "routerbench": routerbench,
    "sprout": sprout,
    "mixinstruct": mixinstruct,
    "headlines": headlines,
    "llmrouterbench": llmrouterbench,
}
"""Writes the files of each public table into a folder."""
PICKLED = ("routerbench", "headlines")
"""Tables that are published as pickles."""
