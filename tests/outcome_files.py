"""Invented outcomes of one LLM in the form of each tool that writes them; the scores are the same everywhere."""

import json
import zipfile
from pathlib import Path
from typing import Any

CALIBRATION = {
    "river": "Which river runs through Basel?",
    "sum": "Add 17 and 25.",
    "ode": "Write a line about\nthe sea.",
    "left": "Nobody answered this.",
}
REFERENCES = {"river": "Rhine", "sum": "42", "ode": "sea"}
SCORES = {"river": 1.0, "sum": 0.0, "ode": 0.5}
TEXTS = [CALIBRATION[name] for name in SCORES]


def write_lines(path: Path, objects: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in objects))
    return path


def write_json(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def lm_eval_sample(number: int, text: str, score: float | None, **changed: Any) -> dict[str, Any]:
    return {
        "doc_id": number,
        "doc": {"id": str(number), "question": text, "answer": "x"},
        "target": "x",
        "arguments": {"gen_args_0": {"arg_0": f"Q: an example\nA: x\n\nQ: {text}\nA:", "arg_1": {"until": ["\n"]}}},
        "resps": [["y"]],
        "filtered_resps": ["y"],
        "filter": "none",
        "metrics": ["exact_match"],
        "doc_hash": "0",
        "prompt_hash": "1",
        "target_hash": "2",
        "exact_match": score,
    } | changed


def lm_eval_samples() -> list[dict[str, Any]]:
    return [lm_eval_sample(number, text, SCORES[name]) for number, (name, text) in enumerate(named_texts())]


def named_texts() -> list[tuple[str, str]]:
    return list(zip(SCORES, TEXTS, strict=True))


def inspect_sample(number: int, text: str, value: Any, **changed: Any) -> dict[str, Any]:
    return {
        "id": number,
        "epoch": 1,
        "input": text,
        "target": "x",
        "messages": [{"role": "user", "content": f"Answer briefly. {text}"}, {"role": "assistant", "content": "y"}],
        "scores": {"match": {"value": value, "answer": "y"}},
        "model_usage": {
            "made/heron": {"input_tokens": 7, "input_tokens_cache_read": 3, "output_tokens": 5, "total_tokens": 15},
            "made/judge": {"input_tokens": 900, "output_tokens": 90, "total_tokens": 990},
        },
    } | changed


def inspect_log(values: list[Any]) -> dict[str, Any]:
    samples = [
        inspect_sample(number, text, value) for number, (text, value) in enumerate(zip(TEXTS, values, strict=True))
    ]
    return {"version": 2, "status": "success", "eval": {"task": "made", "model": "made/heron"}, "samples": samples}


def write_inspect_archive(path: Path, log: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_journal/start.json", json.dumps({"version": 2, "eval": log["eval"]}))
        archive.writestr("summaries.json", json.dumps([{"id": 0, "epoch": 1}]))
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("header.json", json.dumps({"version": 2, "eval": log["eval"]}))
    return path


def helm_stats(instance_id: str, **means: float) -> dict[str, Any]:
    stats = [
        {"name": {"name": name, "split": "test"}, "count": 1, "sum": mean, "mean": mean} for name, mean in means.items()
    ]
    return {"instance_id": instance_id, "train_trial_index": 0, "stats": stats}


def write_helm_run(folder: Path) -> Path:
    stats = [helm_stats(f"id{number}", quasi_exact_match=SCORES[name]) for number, name in enumerate(SCORES)]
    stats += [helm_stats(f"id{number}", num_prompt_tokens=10, num_output_tokens=5) for number in range(len(SCORES))]
    worse = helm_stats("id0", quasi_exact_match=0.0) | {"perturbation": {"name": "misspellings"}}
    write_json(folder / "per_instance_stats.json", [*stats, worse])
    instances = [
        {"input": {"text": text}, "references": [], "split": "test", "id": f"id{number}"}
        for number, text in enumerate(TEXTS)
    ]
    write_json(folder / "instances.json", instances)
    return folder


def batch_line(prompt_id: str, answer: str, **changed: Any) -> dict[str, Any]:
    body = {
        "model": "heron",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": prompt_id, "response": response, "error": None} | changed


def grade(answer: str, reference: str) -> float:
    """1 for the reference, one half for an answer that holds it."""
    return 1.0 if answer == reference else 0.5 if reference in answer else 0.0
