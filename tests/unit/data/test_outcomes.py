import json
import zipfile
from pathlib import Path
from typing import Any

import outcome_files as made
import pytest

from unirouter_torch.data.outcomes import Grading, OutcomeRow
from unirouter_torch.data.outcomes.match import match_outcomes, normalise
from unirouter_torch.data.outcomes.places import reader_of
from unirouter_torch.data.outcomes.read import read_feedback, read_outcomes
from unirouter_torch.errors import DataError

GRADING = Grading(grader=made.grade, references=made.REFERENCES)
TOKENS = {"input_tokens": dict.fromkeys(made.SCORES, 10.0), "output_tokens": dict.fromkeys(made.SCORES, 5.0)}


FORMATS = ("log", "lm_eval", "inspect", "helm", "openai_batch")


def write(format: str, folder: Path) -> Path:
    match format:
        case "log":
            rows = [
                {"prompt": text, "llm": "heron", "score": made.SCORES[name], "input_tokens": 10, "output_tokens": 5}
                for name, text in made.named_texts()
            ]
            return made.write_lines(folder / "log.jsonl", rows)
        case "lm_eval":
            return made.write_lines(folder / "samples_made_2026-01-02T03-04-05.jsonl", made.lm_eval_samples())
        case "inspect":
            return made.write_inspect_archive(folder / "made.eval", made.inspect_log(["C", "I", "P"]))
        case "helm":
            return made.write_helm_run(folder / "run")
        case _:
            answers = {"river": "Rhine", "sum": "41", "ode": "the sea"}
            lines = [made.batch_line(name, answer) for name, answer in answers.items()]
            return made.write_lines(folder / "batch.jsonl", lines)


@pytest.mark.parametrize("format", FORMATS)
def test_every_form_gives_the_same_scores_and_tokens(format: str, tmp_path: Path) -> None:
    path = write(format, tmp_path)
    if path.is_file():
        assert reader_of(path).name == format
    found = read_outcomes(path, calibration=made.CALIBRATION, grading=GRADING)
    assert found.scores == made.SCORES
    if format != "lm_eval":
        assert found.input_tokens == TOKENS["input_tokens"]
        assert found.output_tokens == TOKENS["output_tokens"]
    assert (found.report.num_by_id + found.report.num_by_text, found.report.num_other) == (3, 0)
    assert found.report.missing == ("left",)


@pytest.mark.parametrize("format", FORMATS[:-1])
def test_every_form_with_texts_gives_the_same_feedback(format: str, tmp_path: Path) -> None:
    found = read_feedback(write(format, tmp_path))
    assert found.scores == list(made.SCORES.values())
    for prompt, text in zip(found.prompts, made.TEXTS, strict=True):
        assert prompt == (text if format != "lm_eval" else f"Q: an example\nA: x\n\nQ: {text}\nA:")


def test_feedback_leaves_ungraded_answers_out(tmp_path: Path) -> None:
    path = made.write_json(tmp_path / "log.json", made.inspect_log(["C", "not a score", "I"]))
    found = read_feedback(path, metric="match")
    assert (found.prompts, found.scores) == ([made.TEXTS[0], made.TEXTS[2]], [1.0, 0.0])


def test_feedback_from_a_batch_is_refused_as_it_has_no_texts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="by id alone"):
        read_feedback(write("openai_batch", tmp_path))


def test_feedback_of_a_chat_goes_by_its_last_question(tmp_path: Path) -> None:
    chat = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Add 17 and 25."}])
    sample = made.lm_eval_sample(0, "x", 1.0, arguments={"gen_args_0": {"arg_0": chat}})
    path = made.write_lines(tmp_path / "samples_chat.jsonl", [sample])
    assert read_feedback(path).prompts == ["Add 17 and 25."]


def read(path: Path, **options: Any) -> dict[str, float]:
    return read_outcomes(path, calibration=made.CALIBRATION, **options).scores


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(DataError) as refused:
        read(path, **options)
    return str(refused.value)


def log(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(text)
    return path


def test_a_log_may_have_ids_alone_and_costs(tmp_path: Path) -> None:
    path = log(tmp_path, "prompt_id,score,cost\nriver,0.25,0.002\nelsewhere,1,0.1\n")
    found = read_outcomes(path, calibration=made.CALIBRATION)
    assert found.scores == {"river": 0.25}
    assert found.cost == {"river": 0.002}
    assert found.input_tokens == {}
    assert found.report.num_by_id == 1
    assert found.report.other == ("'elsewhere'",)


def test_a_log_without_ids_and_texts_is_refused(tmp_path: Path) -> None:
    assert "got the columns question, score, expected 'prompt_id' or 'prompt'" in refusal(
        log(tmp_path, "question,score\nriver,1\n")
    )


def test_a_log_of_several_llms_needs_a_choice(tmp_path: Path) -> None:
    path = log(tmp_path, "prompt_id,llm,score\nriver,heron,1\nriver,wren,0\n")
    assert "got heron, wren" in refusal(path)
    assert "got heron, wren" in refusal(path, llm="owl")
    assert read(path, llm="wren") == {"river": 0.0}
    assert "row 2: empty" in refusal(log(tmp_path, "prompt_id,llm,score\nriver,heron,1\nriver,,0\n"))


def test_scores_outside_the_unit_interval_are_refused(tmp_path: Path) -> None:
    assert "row 1" in refusal(log(tmp_path, "prompt_id,score\nriver,1.5\n"))
    samples = [made.lm_eval_sample(0, made.TEXTS[0], 7.0)]
    assert "exact_match,none is 7" in refusal(made.write_lines(tmp_path / "samples_x.jsonl", samples))


def test_a_filter_of_the_harness_is_chosen_with_the_metric(tmp_path: Path) -> None:
    samples = [
        made.lm_eval_sample(0, made.TEXTS[0], score, filter=name)
        for name, score in (("strict-match", 0.0), ("flexible-extract", 1.0))
    ]
    path = made.write_lines(tmp_path / "samples_gsm.jsonl", samples)
    assert "exact_match,flexible-extract; exact_match,strict-match" in refusal(path)
    assert "'exact_match' was chosen" in refusal(path, metric="exact_match")
    assert read(path, metric="exact_match,strict-match") == {"river": 0.0}
    assert read(path, metric="exact_match,flexible-extract") == {"river": 1.0}


def test_older_samples_of_the_harness_have_no_list_of_metrics(tmp_path: Path) -> None:
    old = {"arguments": [[made.TEXTS[1], " x"]], "doc": {"query": "other"}, "acc": 1.0, "acc_norm": 0.0, "note": "x"}
    sample = made.lm_eval_sample(0, "", None, **old)
    for key in ("metrics", "filter", "exact_match"):
        del sample[key]
    path = made.write_lines(tmp_path / "samples_old.jsonl", [sample])
    assert "acc,none; acc_norm,none" in refusal(path)
    assert read(path, metric="acc_norm") == {"sum": 0.0}
    assert read(path, metric="acc") == {"sum": 1.0}


def test_a_chat_that_the_harness_sent_is_known_by_its_last_question(tmp_path: Path) -> None:
    chat = '[{"role": "user", "content": "an example"}, {"role": "user", "content": "Add 17 and 25."}]'
    arguments = {"gen_args_0": {"arg_0": [chat], "arg_1": {}}}
    sample = made.lm_eval_sample(0, "other", 1.0, arguments=arguments)
    assert read(made.write_lines(tmp_path / "samples_chat.jsonl", [sample])) == {"sum": 1.0}


def test_a_folder_of_the_harness_holds_several_tasks(tmp_path: Path) -> None:
    samples = made.lm_eval_samples()
    made.write_lines(tmp_path / "samples_a.jsonl", samples[:1])
    made.write_lines(tmp_path / "samples_b.jsonl", samples[1:])
    assert read(tmp_path) == made.SCORES


@pytest.mark.parametrize(
    ("value", "score"), [("N", 0.0), (True, 1.0), (0.25, 0.25), ("0.75", 0.75), ("Yes", 1.0), ("false", 0.0)]
)
def test_values_of_inspect_become_scores(value: Any, score: float, tmp_path: Path) -> None:
    path = made.write_json(tmp_path / "log.json", made.inspect_log([value, "C", "C"]))
    assert read(path)["river"] == score


def test_unscored_samples_of_inspect_are_reported(tmp_path: Path) -> None:
    content = made.inspect_log(["C", None, "unclear"])
    content["samples"][0]["scores"]["extra"] = {"value": {"tone": 0.5, "list": [1]}}
    path = made.write_json(tmp_path / "log.json", content)
    assert "extra/tone; match" in refusal(path)
    found = read_outcomes(path, calibration=made.CALIBRATION, metric="match")
    assert found.scores == {"river": 1.0}
    assert found.report.num_ungraded == 2
    assert read(path, metric="extra/tone") == {"river": 0.5}


def test_epochs_of_inspect_are_averaged_and_said(tmp_path: Path) -> None:
    content = made.inspect_log(["C", "C", "C"])
    again = made.inspect_sample(0, made.TEXTS[0], "I", epoch=2, model_usage={"made/heron": {"output_tokens": 15}})
    content["samples"].append(again)
    found = read_outcomes(made.write_json(tmp_path / "log.json", content), calibration=made.CALIBRATION)
    assert found.scores["river"] == 0.5
    assert found.output_tokens["river"] == 10.0
    assert found.input_tokens["river"] == 10.0
    assert found.report.num_averaged == 1


def test_a_chat_of_inspect_is_known_by_its_first_question(tmp_path: Path) -> None:
    content = made.inspect_log(["C", "I", "C"])
    content["samples"][1]["input"] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": made.TEXTS[1]}]},
    ]
    assert read(made.write_json(tmp_path / "log.json", content))["sum"] == 0.0


def test_a_damaged_archive_says_how_to_convert_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.eval"
    broken.write_bytes(b"PK no archive")
    assert "inspect log convert" in refusal(broken)
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("header.json", "{}")
    assert "no samples/*.json" in refusal(broken)


def test_helm_needs_prompts_and_one_metric(tmp_path: Path) -> None:
    run = made.write_helm_run(tmp_path / "run")
    stats = [made.helm_stats("id0", exact_match=1.0, f1_score=0.5)]
    made.write_json(run / "per_instance_stats.json", stats)
    assert "exact_match; f1_score" in refusal(run)
    assert read(run / "per_instance_stats.json", metric="f1_score") == {"river": 0.5}
    (run / "instances.json").unlink()
    assert "scenario_state.json or instances.json" in refusal(run)
    request = {"instance": {"id": "id0", "input": {"text": "other"}}, "request": {"prompt": made.TEXTS[2]}}
    made.write_json(run / "scenario_state.json", {"request_states": [request]})
    assert read(run, metric="f1_score") == {"ode": 0.5}


def test_a_batch_needs_grading_and_reports_failures(tmp_path: Path) -> None:
    failed = made.batch_line("sum", "42", response={"status_code": 500, "body": {}})
    expired = made.batch_line("ode", "", response=None, error={"code": "batch_expired"})
    path = made.write_lines(tmp_path / "batch.jsonl", [made.batch_line("river", "Rhine"), failed, expired])
    assert "Give a grader and references" in refusal(path)
    found = read_outcomes(path, calibration=made.CALIBRATION, grading=GRADING)
    assert found.scores == {"river": 1.0}
    assert found.report.num_ungraded == 2
    assert "none of their prompt ids has a reference" in refusal(
        path, grading=Grading(grader=made.grade, references={"q": "x"})
    )
    bad = Grading(grader=lambda answer, reference: 2.0, references=made.REFERENCES)
    assert "the grade is 2" in refusal(path, grading=bad)


def test_batches_of_the_other_endpoints_are_read(tmp_path: Path) -> None:
    said = {
        "type": "message",
        "content": [{"type": "output_text", "text": "Rhi"}, {"type": "output_text", "text": "ne"}],
    }
    responses = {"output": [{"type": "reasoning"}, said], "usage": {"input_tokens": 3, "output_tokens": 4}}
    completions = {"choices": [{"text": "42"}]}
    silent = {"choices": [{"message": {"content": None, "refusal": "no"}}]}
    bodies = {"river": responses, "sum": completions, "ode": silent}
    lines = [made.batch_line(name, "", response={"status_code": 200, "body": body}) for name, body in bodies.items()]
    path = made.write_lines(tmp_path / "batch.jsonl", lines)
    found = read_outcomes(path, calibration=made.CALIBRATION, grading=GRADING)
    assert found.scores == {"river": 1.0, "sum": 1.0, "ode": 0.0}
    assert (found.input_tokens, found.output_tokens) == ({"river": 3.0}, {"river": 4.0})


def row(*texts: str, score: float | None = 1.0, ids: tuple[str, ...] = ()) -> OutcomeRow:
    return OutcomeRow(place="here", prompt_ids=ids, texts=texts, score=score)


@pytest.mark.parametrize("copy", ["  add 17\n and 25. ", "Add １７ and 25.", "ADD 17 AND 25."])
def test_copies_of_a_text_match(copy: str) -> None:
    assert normalise(copy) == normalise(made.CALIBRATION["sum"])
    assert match_outcomes([row(copy)], made.CALIBRATION, "file").scores == {"sum": 1.0}


def test_the_exact_text_comes_before_the_normalised_one() -> None:
    calibration = {"a": "x2 + 1", "b": "x² + 1", "c": "x² + 1"}
    assert match_outcomes([row("x² + 1")], calibration, "file").scores == {"b": 1.0, "c": 1.0}
    with pytest.raises(DataError, match="none of 1 rows"):
        match_outcomes([row("X2 + 1")], calibration, "file")


def test_an_id_comes_before_the_text_unless_they_contradict() -> None:
    found = match_outcomes([row("in another template", ids=("sum",))], made.CALIBRATION, "file")
    assert (found.scores, found.report.num_by_id, found.report.num_by_text) == ({"sum": 1.0}, 1, 0)
    with pytest.raises(DataError, match=r"prompt id 'sum', but the text of the calibration prompt 'river'"):
        match_outcomes([row(made.CALIBRATION["river"], ids=("sum",))], made.CALIBRATION, "file")


def test_row_numbers_are_no_prompt_ids(tmp_path: Path) -> None:
    path = made.write_lines(tmp_path / "samples_x.jsonl", made.lm_eval_samples())
    calibration = {"0": "Nobody asked this.", "ode": made.CALIBRATION["ode"]}
    assert read_outcomes(path, calibration=calibration).scores == {"ode": 0.5}


def test_nothing_that_matches_is_an_error_with_an_example_of_each_side() -> None:
    with pytest.raises(DataError, match=r"got 'Who\?', expected prompt ids such as 'river' or texts such as 'Which"):
        match_outcomes([row("Who?")], made.CALIBRATION, "file")
    with pytest.raises(DataError, match="none has a score"):
        match_outcomes([row(made.TEXTS[0], score=None)], made.CALIBRATION, "file")


def test_the_report_says_all_that_a_user_has_to_know() -> None:
    rows = [row(made.TEXTS[0]), row(made.TEXTS[0], score=0.0), row(made.TEXTS[1], score=None), row("Who?")]
    assert match_outcomes([*rows, row(ids=("ode",))], made.CALIBRATION, "file").report.lines() == [
        "1 rows matched by prompt id, 3 by text",
        "1 rows of other prompts, such as 'Who?'",
        "1 matched rows without a score",
        "1 calibration prompts with several scores: their mean is taken",
        "2 calibration prompts without a score, such as sum; left",
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.txt", "", "not a known form"),
        ("x.jsonl", "{", "expected JSON"),
        (
            "x.jsonl",
            '{"a": 1}\n[1]\n',
            "unknown, not a known form of outcomes; got JSON with the members 'a'. Known are ",
        ),
        ("x.json", "[1]", "entry 1: got a int"),
        ("x.json", '{"eval": {}, "status": "success"}', "got no samples"),
        ("x.json", '{"samples": [{"scores": {"a": {"value": 1}}, "messages": [1]}]}', "not of the form 'inspect'"),
        ("per_instance_stats.json", '[{"instance_id": "a", "stats": []}]', "got no instances"),
    ],
)
def test_malformed_files_are_refused(name: str, content: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert expected in refusal(path)


@pytest.mark.parametrize("format", FORMATS)
def test_missing_files_are_refused(format: str, tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "samples.jsonl", format=format, grading=GRADING)
