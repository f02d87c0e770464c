"""Forms of other tools, told by their content, and several files of one LLM."""

import json
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import outcome_files as made
import pytest

from unirouter_torch.data.outcomes import Grading
from unirouter_torch.data.outcomes.match import MatchedOutcomes
from unirouter_torch.data.outcomes.places import reader_of
from unirouter_torch.data.outcomes.read import read_outcomes
from unirouter_torch.data.outcomes.reader import all_readers
from unirouter_torch.errors import ConfigError, DataError

ANSWERS = {"river": "Rhine", "sum": "41", "ode": "the sea"}
GRADING = Grading(grader=made.grade, references=made.REFERENCES)
TEXT_OF = dict(made.named_texts())


def found(path: Path | list[Path], **options: Any) -> MatchedOutcomes:
    return read_outcomes(path, calibration=made.CALIBRATION, **options)


def promptfoo(folder: Path) -> Path:
    results = [
        {
            "prompt": {"raw": json.dumps([{"role": "user", "content": text}]), "label": "x"},
            "provider": {"id": "made:heron"},
            "vars": {"question": text},
            "score": made.SCORES[name],
            "success": made.SCORES[name] == 1,
            "failureReason": 0,
            "response": {"output": ANSWERS[name], "tokenUsage": {"prompt": 10, "completion": 5}},
            "cost": 0.5,
        }
        for name, text in made.named_texts()
    ]
    results.append({"prompt": {"raw": made.CALIBRATION["left"]}, "success": False, "score": 0, "failureReason": 2})
    document = {"evalId": "e", "results": {"version": 3, "prompts": [{"raw": "x"}], "results": results, "stats": {}}}
    return made.write_json(folder / "any.json", document)


def promptfoo_lines(folder: Path) -> Path:
    rows = [{"prompt": {"raw": text}, "score": made.SCORES[name], "success": True} for name, text in made.named_texts()]
    return made.write_lines(folder / "any.jsonl", rows)


def anthropic_batch(folder: Path) -> Path:
    lines = [
        {
            "custom_id": name,
            "result": {
                "type": "succeeded",
                "message": {
                    "content": [{"type": "thinking", "thinking": "41? 42?"}, {"type": "text", "text": answer}],
                    "usage": {"input_tokens": 4, "cache_read_input_tokens": 6, "output_tokens": 5},
                },
            },
        }
        for name, answer in ANSWERS.items()
    ]
    lines.append({"custom_id": "left", "result": {"type": "errored", "error": {"type": "x"}}})
    return made.write_lines(folder / "any.txt", lines)


def gemini_batch(folder: Path) -> Path:
    lines = [
        {
            "key": name,
            "response": {
                "candidates": [{"content": {"parts": [{"text": "41?", "thought": True}, {"text": answer}]}}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, "thoughtsTokenCount": 3},
            },
        }
        for name, answer in ANSWERS.items()
    ]
    return made.write_lines(folder / "any.jsonl", lines)


def litellm(folder: Path) -> Path:
    rows = [
        {
            "request_id": name,
            "call_type": "acompletion",
            "model": "heron",
            "spend": 0.5,
            "total_tokens": 15,
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "messages": [{"role": "user", "content": TEXT_OF[name]}],
            "response": {"choices": [{"message": {"role": "assistant", "content": answer}}]},
        }
        for name, answer in ANSWERS.items()
    ]
    return made.write_json(folder / "spend.json", rows)


def langfuse(folder: Path) -> Path:
    rows = [
        {
            "id": name,
            "sessionId": None,
            "bookmarked": False,
            "name": "chat",
            "input": {"messages": [{"role": "user", "content": text}]},
            "output": {"role": "assistant", "content": ANSWERS[name]},
            "scores": [{"name": "quality", "value": made.SCORES[name]}],
            "usage": {"input": 10, "output": 5},
            "totalCost": 0.5,
        }
        for name, text in made.named_texts()
    ]
    return made.write_json(folder / "traces.json", {"data": rows, "meta": {"page": 1}})


def langfuse_trace(folder: Path) -> Path:
    """What the button of a trace downloads, several of them in a file; names as the package in Python has them."""
    rows = [
        {
            "trace": {
                "id": name,
                "input": {"args": [text], "kwargs": {}},
                "output": ANSWERS[name],
                "scores": [{"name": "good_enough", "value": made.SCORES[name], "data_type": "NUMERIC"}],
            },
            "observations": [
                {"type": "SPAN", "model": None},
                {"type": "GENERATION", "model": "heron", "usage_details": {"input": 10, "output": 5}, "totalCost": 0.5},
            ],
        }
        for name, text in made.named_texts()
    ]
    return made.write_lines(folder / "trace.jsonl", rows)


def langfuse_python(folder: Path) -> Path:
    rows = [
        {
            "id": name,
            "input": {"role": "user", "content": text},
            "output": {"content": ANSWERS[name]},
            "total_cost": 0.5,
            "usage_details": {"input": 10, "output": 5},
            "html_path": "/t",
            "scores": [{"name": "ok", "value": None, "string_value": f"{made.SCORES[name]:.0%}"}],
        }
        for name, text in made.named_texts()
    ]
    return made.write_lines(folder / "traces.jsonl", rows)


def litellm_logger(folder: Path) -> Path:
    rows = [
        {
            "trace_id": name,
            "call_type": "acompletion",
            "model_group": "heron",
            "model": "made/heron",
            "response_cost": 0.5,
            "status": "success",
            "prompt_tokens": 10,
            "completion_tokens": 5,
            "messages": [{"role": "user", "content": TEXT_OF[name]}],
            "response": {"choices": [{"message": {"role": "assistant", "content": answer}}]},
        }
        for name, answer in ANSWERS.items()
    ]
    return made.write_lines(folder / "standard.jsonl", rows)


def langfuse_table(folder: Path) -> Path:
    cells = [(f'"{text}"', "null", f"[{made.SCORES[name]}]") for name, text in made.named_texts()]
    text = "".join(f"t,{question},{answer},s,{score}\n" for question, answer, score in cells)
    (folder / "traces.csv").write_text(f"id,input,output,sessionId,quality\n{text}")
    return folder / "traces.csv"


FORMS = {
    "promptfoo": (promptfoo, {}),
    "promptfoo lines": (promptfoo_lines, {}),
    "anthropic_batch": (anthropic_batch, {"grading": GRADING}),
    "gemini_batch": (gemini_batch, {"grading": GRADING}),
    "litellm": (litellm, {"grading": GRADING}),
    "litellm of a logger": (litellm_logger, {"grading": GRADING}),
    "langfuse": (langfuse, {}),
    "langfuse trace": (langfuse_trace, {}),
    "langfuse in Python": (langfuse_python, {}),
    "langfuse table": (langfuse_table, {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_form_is_told_by_content_and_gives_the_scores(form: str, tmp_path: Path) -> None:
    write, options = FORMS[form]
    path = write(tmp_path)
    assert reader_of(path).name == form.partition(" ")[0]
    assert found(path, **options).scores == made.SCORES


TELLING = ["promptfoo", "anthropic_batch", "gemini_batch", "litellm", "litellm of a logger"]
TELLING += ["langfuse", "langfuse trace", "langfuse in Python"]


@pytest.mark.parametrize("form", TELLING)
def test_tokens_and_costs_of_other_forms_are_read(form: str, tmp_path: Path) -> None:
    write, options = FORMS[form]
    outcomes = found(write(tmp_path), **options)
    assert set(outcomes.input_tokens.values()) == {10.0} and set(outcomes.output_tokens.values()) == {5.0}
    assert set(outcomes.cost.values()) == (set() if form.endswith("batch") else {0.5})


NOTHING = {
    "results.json": ({"results": {"made_task": {"acc,none": 0.5, "alias": "x"}}}, "--log_samples"),
    "activity.json": ({"data": [{"date": "d", "model_permaslug": "a/b", "usage": 0.5, "requests": 2}]}, "OpenRouter"),
    "spend.json": (
        [{"request_id": "r", "spend": 0.5, "total_tokens": 3, "messages": {}}],
        "store_prompts_in_spend_logs",
    ),
    "other.json": ({"alpha": {"beta": 1}}, "unknown, not a known form of outcomes; got JSON with the members 'alpha'"),
    "other.csv": ("time,level\n1,2\n", "got a table with the columns 'level', 'time'. Known are anthropic_batch: "),
    "other.zip": (None, "got a ZIP archive"),
    "batch.jsonl": ([made.batch_line("river", "Rhine")][0], "Give a grader and references"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_what_holds_no_outcomes_or_is_unknown_is_said_to_be_so(name: str, tmp_path: Path) -> None:
    content, message = NOTHING[name]
    path = tmp_path / name
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError) as refused:
        found(path)
    assert message in str(refused.value)


def test_no_two_readers_take_a_form_for_theirs(tmp_path: Path) -> None:
    for number, (write, _) in enumerate(FORMS.values()):
        (folder := tmp_path / str(number)).mkdir()
        reader_of(write(folder))
    assert {"log", "helm", "inspect", "lm_eval"} < all_readers().keys()


def test_what_an_assertion_of_promptfoo_found_is_a_grade_and_no_error(tmp_path: Path) -> None:
    rows = [{"prompt": {"raw": TEXT_OF[name]}, "success": False, "score": 0, "error": "x"} for name in ANSWERS]
    rows[0] |= {"gradingResult": {"pass": False}}
    rows[1] |= {"response": {"output": {"a": 1}}}
    outcomes = found(made.write_json(tmp_path / "old.json", {"results": {"version": 2, "results": rows}}))
    assert outcomes.scores == dict.fromkeys(list(ANSWERS)[:2], 0.0)
    assert outcomes.report.num_ungraded == len(ANSWERS) - 2


def test_a_log_may_have_columns_that_other_forms_have(tmp_path: Path) -> None:
    rows = [
        {"prompt_id": "river", "score": 1, "input": "x", "output": "y", "sessionId": 1, "spend": 2, "request_id": "r"}
    ]
    assert found(made.write_lines(tmp_path / "log.jsonl", rows)).scores == {"river": 1.0}


def test_answers_of_a_log_are_graded_without_their_reasoning(tmp_path: Path) -> None:
    answers = ["<think>41?</think>Rhine", "<think>42", "the sea"]
    rows = [{"prompt_id": name, "answer": answer} for name, answer in zip(made.SCORES, answers, strict=True)]
    outcomes = found(made.write_lines(tmp_path / "log.jsonl", rows), grading=GRADING)
    assert outcomes.scores == made.SCORES
    assert "1 answers end within the reasoning of the LLM: they count as empty" in outcomes.report.lines()


@pytest.mark.parametrize(
    "answer",
    [
        "Rhine",
        [{"type": "thinking", "thinking": "Elbe?"}, {"type": "text", "text": "Rhine"}],
        {"role": "assistant", "content": "Rhine", "reasoning_content": "Elbe?"},
        [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Rhine"}],
        {"choices": [{"message": {"content": "Rhine"}}]},
    ],
)
def test_answers_of_a_log_come_in_many_forms(answer: Any, tmp_path: Path) -> None:
    rows = [{"prompt_id": "river", "answer": answer}, {"prompt_id": "sum", "answer": 42}, {"prompt_id": "ode"}]
    outcomes = found(made.write_lines(tmp_path / "log.jsonl", rows), grading=GRADING)
    assert outcomes.scores == {"river": 1.0, "sum": GRADING.grader("42", GRADING.references["sum"])}


def test_an_empty_answer_is_wrong_and_an_empty_cell_is_none(tmp_path: Path) -> None:
    silent = {"content": None, "reasoning_details": [{"text": "Elbe?"}]}
    rows = [{"prompt_id": "river", "answer": ""}, {"prompt_id": "sum", "answer": silent}]
    outcomes = found(made.write_lines(tmp_path / "log.jsonl", rows), grading=GRADING)
    assert (outcomes.scores, outcomes.report.num_cut_off) == ({"river": 0.0, "sum": 0.0}, 1)
    (tmp_path / "log.csv").write_text("prompt_id,answer\nriver,Rhine\nsum,\n")
    assert found(tmp_path / "log.csv", grading=GRADING).scores == {"river": 1.0}


def test_batch_answers_are_graded_without_their_reasoning(tmp_path: Path) -> None:
    lines = [made.batch_line("river", "<think>\nElbe?\n</think>\n\nRhine"), made.batch_line("sum", "<think>Perhaps 42")]
    silent = made.batch_line("ode", "")
    silent["response"]["body"]["choices"][0] = {"message": {"content": None, "reasoning_content": "sea"}}
    outcomes = found(made.write_lines(tmp_path / "b.jsonl", [*lines, silent]), grading=GRADING)
    assert outcomes.scores == {"river": 1.0, "sum": 0.0, "ode": 0.0}
    assert outcomes.report.num_cut_off == 2


def helm_run(folder: Path, name: str, score: float, **metric: float) -> None:
    (run := folder / name).mkdir(parents=True)
    text = made.CALIBRATION[name.partition("=")[2].partition(",")[0]]
    made.write_json(run / "per_instance_stats.json", [made.helm_stats("id0", **(metric or {"exact_match": score}))])
    made.write_json(run / "instances.json", [{"input": {"text": text}, "id": "id0"}])


def test_runs_of_several_subjects_in_a_folder_are_read_together(tmp_path: Path) -> None:
    helm_run(tmp_path / "runs" / "v1", "made:subject=river,model=m", 1.0)
    helm_run(tmp_path / "runs" / "v1", "made:subject=sum,model=m", 0.0)
    helm_run(tmp_path / "runs" / "v1", "other:subject=ode,model=m", 0.5, f1_score=0.5)
    outcomes = found(tmp_path)
    assert outcomes.scores == made.SCORES
    assert outcomes.report.notes == ()
    helm_run(tmp_path / "runs" / "v2", "made:subject=sum,model=m", 1.0)
    with pytest.raises(DataError, match=r"two runs of the task 'made:subject=sum', and nothing says which"):
        found(tmp_path)


def samples(folder: Path, task: str, names: list[str], metric: str, time: str, score: float | None = None) -> Path:
    rows = [
        made.lm_eval_sample(number, TEXT_OF[name], None)
        | {"metrics": [metric], metric: made.SCORES[name] if score is None else score, "exact_match": None}
        for number, name in enumerate(names)
    ]
    rows = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return made.write_lines(folder / f"samples_{task}_2026-01-{time}T10-00-00.000001.jsonl", rows)


def test_each_task_of_the_harness_has_its_metric(tmp_path: Path) -> None:
    first = samples(tmp_path / "out" / "org__heron", "one", ["river", "sum"], "acc", "02")
    second = samples(tmp_path / "out" / "org__heron", "two", ["ode"], "f1", "02")
    assert found(tmp_path / "out").scores == found([first, second]).scores == made.SCORES
    assert found(tmp_path, metric=["acc", "two=f1"], llm="org__heron").scores == made.SCORES
    with pytest.raises(DataError, match=r"'acc' was chosen\. Choose .*two=METRIC"):
        found(tmp_path, metric="acc")
    samples(tmp_path / "out" / "org__wren", "one", ["river"], "acc", "02")
    with pytest.raises(DataError, match="got org__heron, org__wren, expected the one to read"):
        found(tmp_path)
    assert found(tmp_path, llm="org__heron").scores == made.SCORES


def test_of_two_runs_of_a_task_the_newest_counts_and_the_other_is_named(tmp_path: Path) -> None:
    samples(tmp_path, "one", ["river", "sum", "ode"], "acc", "02", score=0.0)
    samples(tmp_path, "one", ["river", "sum", "ode"], "acc", "03")
    outcomes = found(tmp_path)
    assert outcomes.scores == made.SCORES and outcomes.report.num_averaged == 0
    assert "2026-01-02T10-00-00.000001.jsonl: left out, as a newer run of the task 'one'" in outcomes.report.lines()[0]


def test_a_run_of_inspect_that_succeeded_counts_before_a_newer_one_that_did_not(tmp_path: Path) -> None:
    logs = {"a": ("2026-01-02", "success", ["C", "I", "P"]), "b": ("2026-01-03", "error", ["I", "I", "I"])}
    for name, (created, status, values) in logs.items():
        log = made.inspect_log(values) | {"status": status}
        log["eval"]["created"] = created
        made.write_json(tmp_path / f"{name}.json", log)
    assert found(tmp_path).scores == made.SCORES


def test_other_files_of_a_folder_are_counted(tmp_path: Path) -> None:
    made.write_lines(tmp_path / "a" / "log.jsonl", [{"prompt_id": "river", "score": 1}])
    made.write_lines(tmp_path / "b" / "log.jsonl", [{"prompt_id": "sum", "score": 0}])
    (tmp_path / "b" / "notes.md").write_text("words")
    outcomes = found(tmp_path)
    assert outcomes.scores == {"river": 1.0, "sum": 0.0}
    assert outcomes.report.lines()[0] == "1 other files were not read, such as notes.md"


def test_samples_of_a_large_log_are_held_one_at_a_time(tmp_path: Path) -> None:
    events = [{"event": "model", "text": f"word {number} " * 20} for number in range(2000)]
    size = len(json.dumps(events))
    log = made.inspect_log(["C", "I", "P"])
    log["samples"] = [sample | {"events": events} for sample in log["samples"] * 8]
    for number, sample in enumerate(log["samples"]):
        sample["epoch"] = number
    archive = made.write_inspect_archive(tmp_path / "a.eval", log)
    document = made.write_json(tmp_path / "a.json", log)
    del log, events
    for path in (archive, document):
        tracemalloc.start()
        assert found(path).scores == made.SCORES
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10 * size, "24 samples of that size are in the log"


def test_a_log_of_inspect_is_read_without_the_memory_of_arrow_and_torch(tmp_path: Path) -> None:
    path = made.write_inspect_archive(tmp_path / "a.eval", made.inspect_log(["C", "I", "P"]))
    code = (
        "import sys; from unirouter_torch.data.outcomes.read import read_outcomes\n"
        f"assert read_outcomes({str(path)!r}, calibration={made.CALIBRATION!r}).scores == {made.SCORES!r}\n"
        "assert not {'pyarrow', 'torch'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of another author, as an installer leaves it, with a reader and a grader."""
    (tmp_path / "stranger.py").write_text(
        "from unirouter_torch.data.outcomes import OutcomeRow\n"
        "from unirouter_torch.data.outcomes.reader import OutcomesReader\n"
        "from unirouter_torch.measurement.grader import Grader\n"
        "class Pipes(OutcomesReader):\n"
        "    name = 'pipes'\n"
        "    form = 'lines of id|answer'\n"
        "    def recognizes(self, sample):\n"
        "        return any('|' in name for name in sample.columns)\n"
        "    def read(self, path, pick):\n"
        "        for line in path.read_text().splitlines():\n"
        "            prompt_id, answer = line.split('|')\n"
        "            yield OutcomeRow(place=line, prompt_ids=(prompt_id,), answer=answer)\n"
        "class Starts(Grader):\n"
        "    name = 'starts'\n"
        "    def grade(self, prompt, answer, reference):\n"
        "        return float(answer.startswith(reference))\n"
    )
    (metadata := tmp_path / "stranger-1.dist-info").mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(
        "[unirouter_torch.readers]\npipes = stranger:Pipes\n[unirouter_torch.graders]\nstarts = stranger:Starts\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("stranger")
def test_readers_and_graders_of_other_packages_are_found(tmp_path: Path) -> None:
    from unirouter_torch.measurement.grader import find_grader

    (tmp_path / "log.txt").write_text("river|Rhine, of course\nsum|41\n")
    for grader, form in (("starts", "auto"), ("stranger:Starts", "pipes"), ("starts", "stranger:Pipes")):
        by = find_grader(grader)
        grading = Grading(
            grader=lambda answer, reference, by=by: by.grade("", answer, reference), references=made.REFERENCES
        )
        assert found(tmp_path / "log.txt", format=form, grading=grading).scores == {"river": 1.0, "sum": 0.0}


def test_unknown_reader_is_answered_with_those_that_are_known(tmp_path: Path) -> None:
    path = made.write_lines(tmp_path / "log.jsonl", [{"prompt_id": "river", "score": 1}])
    with pytest.raises(ConfigError, match=r"format: got 'pipes', expected one of anthropic_batch, gemini_batch, helm"):
        found(path, format="pipes")
