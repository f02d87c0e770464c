"""``unirouter pool`` on a router's folder."""

import json
from pathlib import Path
from typing import Any

import outcome_files
import pytest
import torch
from small_router import COST, KINDS, PROMPTS, SCORES, small_router

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.cli.pool import change_router


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    small_router(tmp_path, save_encoder=KINDS[request.param]).save_pretrained(tmp_path / "router")
    return tmp_path / "router"


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    rows = [f"{prompt_id},{score}" for prompt_id, score in {"p0": 1.0, "p1": 0.5, "p4": 1.0}.items()]
    (tmp_path / "scores.csv").write_text("\n".join(["prompt_id,score", *rows]))
    return tmp_path / "scores.csv"


def run(*arguments: str | Path) -> None:
    assert main(["pool", *map(str, arguments)]) == 0


def listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    run("list", "--router", folder, "--json")
    return {llm["llm"]: llm for llm in json.loads(capsys.readouterr().out)["llms"]}


def test_llm_joins_by_one_command_exactly_as_in_python(folder: Path, scores: Path, tmp_path: Path) -> None:
    by_hand = Router.from_pretrained(folder)
    by_hand.add_llm("new", {"p0": 1.0, "p1": 0.5, "p4": 1.0}, 0.3)
    run("add", "new", "--router", folder, "--scores", scores, "--cost", "0.3")
    prompts = list(PROMPTS.values())
    assert Router.from_pretrained(folder).route(prompts) == by_hand.route(prompts)


def test_every_change_shows_in_the_list_and_can_be_undone(
    folder: Path, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = [listed(folder, capsys)]
    changes: list[tuple[str | Path, ...]] = [
        ("add", "new", "--scores", scores, "--cost", "0.3"),
        ("reprice", "new", "--cost", "0.4"),
        ("disable", "large"),
        ("rename", "large", "huge"),
        ("enable", "huge"),
        ("remove", "small"),
    ]
    for change in changes:
        run(*change, "--router", folder)
        states.append(listed(folder, capsys))
    assert states[1]["new"] == {
        "llm": "new",
        "outcomes": pytest.approx(3),
        "error": pytest.approx(1 / 6),
        "cost": 0.3,
        "cost_of_call": 0.3,
        "price_in": None,
        "price_out": None,
        "latency": None,
        "latency_per_token": None,
        "context_tokens": None,
        "is_available": True,
    }
    assert states[2]["new"]["cost"] == 0.4
    assert not states[3]["large"]["is_available"]
    assert list(states[4]) == ["small", "huge", "other", "new"] and not states[4]["huge"]["is_available"]
    assert states[5]["huge"]["is_available"] and "small" not in states[6]
    for state in reversed(states[:-1]):
        run("undo", "--router", folder)
        assert listed(folder, capsys) == state
    run("undo", "--to", "5", "--router", folder)
    assert listed(folder, capsys) == states[5]


def test_further_outcomes_join_as_if_they_had_been_there_from_the_start(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first.csv", tmp_path / "second.jsonl"
    first.write_text("prompt_id,score\np0,1\np1,0.5\n")
    second.write_text('{"prompt_id": "p4", "score": true}\n')
    where = ("--router", folder)
    run("add", "new", *where, "--scores", first, "--cost", "0.3")
    run("add", "new", *where, "--scores", second, "--more")
    run("add", "whole", *where, "--scores", first, second, "--cost", "0.3")
    pool = Router.from_pretrained(folder).pool
    torch.testing.assert_close(pool["new"].sums, pool["whole"].sums)
    assert pool["new"].drift is None
    capsys.readouterr()
    assert main(["pool", "add", "new", "--router", str(folder), "--scores", str(second), "--more"]) == 2
    assert "was made from the same data" in capsys.readouterr().err
    assert main(["pool", "add", "new", "--router", str(folder), "--scores", str(first), "--more", "--cost", "1"]) == 2
    assert "--more: got a cost" in capsys.readouterr().err
    assert Router.from_pretrained(folder).pool_history()[-1].change.data == "first.csv, second.jsonl"


def test_history_names_the_change_and_its_file(folder: Path, scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("add", "new", "--router", folder, "--scores", scores, "--cost", "0.3")
    assert "revision 1: add new at cost 0.3 by 3 outcomes" in capsys.readouterr().out
    run("history", "--router", folder, "--json")
    first, second = json.loads(capsys.readouterr().out)
    assert first["what"] == "saved with the router"
    assert second["data"] == "scores.csv" and len(second["data_sha256"]) == 64
    run("history", "--router", folder)
    assert "scores.csv" in capsys.readouterr().out


def test_show_tells_clusters_relatives_and_traffic(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("show", "large", "--router", folder)
    text = capsys.readouterr().out
    assert "large" in text and "nearest relatives" in text and "sings" in text and "cost weight" in text
    run("show", "large", "--router", folder, "--json")
    facts = json.loads(capsys.readouterr().out)
    assert facts["error"] == pytest.approx(0.125) and len(facts["clusters"]) == 3


def test_long_prompts_leave_room_for_the_numbers_of_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    router = small_router(tmp_path)
    prompts = {prompt_id: f"{text}, " + "and sings again " * 20 for prompt_id, text in PROMPTS.items()}
    router.calibrate(prompts, SCORES, COST)
    router.save_pretrained(tmp_path / "router")
    run("show", "large", "--router", tmp_path / "router")
    text = capsys.readouterr().out
    assert "90 % interval" in text and " to " in text and max(map(len, text.splitlines())) <= 80


def test_router_of_the_package_has_no_history(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pool", "history", "--router", "unirouter-minilm"]) == 2
    error = capsys.readouterr().err
    assert "lies in no folder" in error and len(error.strip().splitlines()) == 1


def test_prompt_is_not_sent_to_an_llm_whose_context_is_too_short(
    folder: Path, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("reprice", "small", "--router", folder, "--context-tokens", "5")
    assert "reprice small to context tokens 5" in capsys.readouterr().out
    run("add", "new", "--router", folder, "--scores", scores, "--cost", "0", "--context-tokens", "3")
    assert {name: llm["context_tokens"] for name, llm in listed(folder, capsys).items()} == {
        "small": 5,
        "large": None,
        "other": None,
        "new": 3,
    }
    run("list", "--router", folder)
    assert "context" in capsys.readouterr().out
    chosen = {}
    for length in (12, 20, 24):
        assert main(["route", "--router", str(folder), "--cost-weight", "1000000", "--json", "a" * length]) == 0
        chosen[length] = json.loads(capsys.readouterr().out)["llm"]
    assert chosen == {12: "new", 20: "small", 24: "other"}
    assert main(["pool", "reprice", "small", "--router", str(folder), "--context-tokens", "0"]) == 2
    assert "context-tokens of 'small': got 0" in capsys.readouterr().err


def test_list_marks_disabled_llms(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("disable", "other", "--router", folder)
    run("list", "--router", folder)
    assert "other (disabled)" in capsys.readouterr().out


def test_pool_is_shown_and_changed_without_the_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr("unirouter_torch.router.saved_encoder.SavedEncoder.load", refuse)
    (folder.parent / "scores.csv").write_text("prompt_id,score\np0,1\np1,0\n")
    add = ["add", "new", "--cost", "0.2", "--scores", str(folder.parent / "scores.csv")]
    assert main(["pool", *add, "--router", str(folder)]) == 0
    for words in (["list"], ["show", "small"], ["disable", "small"], ["undo"], ["history"]):
        command, *llm = words
        assert main(["pool", command, *llm, "--router", str(folder)]) == 0


def test_a_change_is_made_again_where_somebody_else_was_quicker(folder: Path) -> None:
    router, other = Router.from_pretrained(folder), Router.from_pretrained(folder)
    other.pool = other.pool.with_changes("large", cost=3.0)
    other.save_pool("reprice large")

    def change() -> None:
        router.pool = router.pool.with_changes("small", cost=0.2)

    change_router(router, change, "reprice small")
    pool = Router.from_pretrained(folder).pool
    assert pool.cost.tolist() == [0.2, 3.0, 0.5]


def test_llm_paid_by_the_token_costs_what_its_answers_are_long(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt_id": prompt_id, "score": 1.0, "output_tokens": 100.0} for prompt_id in PROMPTS]
    (tmp_path / "new.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scores = ("--scores", tmp_path / "new.jsonl")
    run("add", "new", "--router", folder, *scores, "--price-in", "4", "--price-out", "2e4")
    lengths = [len(text) / 4 for text in PROMPTS.values()]
    assert listed(folder, capsys)["new"]["cost"] == pytest.approx(2.0 + 4e-6 * sum(lengths) / 5)
    long = "sings " * 1000
    (route,) = Router.from_pretrained(folder).route([long])
    assert route.cost["new"] == pytest.approx(2.0 + 4e-6 * len(long) / 4) and route.cost["small"] == 0.1
    run("reprice", "new", "--router", folder, "--price-out", "1e4", "--cost", "3")
    found = listed(folder, capsys)["new"]
    assert (found["cost_of_call"], found["price_in"], found["price_out"]) == (3.0, 4e-6, 0.01)
    assert main(["pool", "add", "more", "--router", str(folder), *map(str, scores)]) == 2
    assert "Give --cost, or --price-in" in capsys.readouterr().err
    assert main(["pool", "reprice", "small", "--price-in", "1", "--router", str(folder)]) == 2
    assert "no price by the token" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove", "nobody"], "no LLM named 'nobody'"),
        (["reprice", "small", "--cost", "-1"], "cost of 'small'"),
        (["rename", "small", "large"], "is in it already"),
        (["add", "small", "--scores", "SCORES", "--cost", "1"], "remove that LLM first"),
        (["add", "new", "--scores", "no/such.csv", "--cost", "1"], "no such file"),
        (["add", "new", "--scores", "SCORES", "--cost", "nan"], "cost of 'new'"),
        (["undo"], "nothing is left to undo"),
        (["undo", "--to", "7"], "no revision 7"),
        (["show", "nobody"], "no LLM named 'nobody'"),
        (["undo", "--to", "9"], "no revision 9 of the pool; expected 0 to 0"),
    ],
)
def test_mistake_ends_with_code_2_one_line_and_no_change(
    folder: Path, scores: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    arguments = [str(scores) if argument == "SCORES" else argument for argument in arguments]
    assert main(["pool", *arguments, "--router", str(folder)]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert len(list((folder / "pool").iterdir())) == 1


def test_last_llm_stays(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("remove", "small", "--router", folder)
    run("remove", "other", "--router", folder)
    assert main(["pool", "remove", "large", "--router", str(folder)]) == 2
    assert main(["pool", "disable", "large", "--router", str(folder)]) == 2
    assert "last LLM" in capsys.readouterr().err
    assert list(SCORES) != list(listed(folder, capsys)) == ["large"]


def test_feedback_is_added_by_one_command_as_in_python(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand = Router.from_pretrained(folder)
    prompts, scores = ["the red otter", "a kite"], [0.0, 1.0]
    by_hand.observe("large", prompts, scores, half_life=9.0)
    log = tmp_path / "log.csv"
    log.write_text("prompt,score\n" + "\n".join(f"{p},{s}" for p, s in zip(prompts, scores, strict=True)))
    run("observe", "large", "--router", folder, "--outcomes", log, "--half-life", "9")
    assert "no drift after 2 outcomes" in capsys.readouterr().out
    assert Router.from_pretrained(folder).route(prompts) == by_hand.route(prompts)
    log.write_text("prompt,score\n" + "the otter,0\n" * 200)
    run("observe", "large", "--router", folder, "--outcomes", log)
    assert "drift: large makes more errors than estimated" in capsys.readouterr().out
    log.write_text("prompt_id,score\np0,1\n")
    assert main(["pool", "observe", "large", "--router", str(folder), "--outcomes", str(log)]) == 2


def test_feedback_is_read_from_logs_of_others(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand = Router.from_pretrained(folder)
    by_hand.observe("large", outcome_files.TEXTS, [1.0, 0.0, 0.5])
    log = outcome_files.write_inspect_archive(tmp_path / "a.eval", outcome_files.inspect_log(["C", "I", "P"]))
    run("observe", "large", "--router", folder, "--outcomes", log, "--metric", "match")
    assert "no drift after 3 outcomes" in capsys.readouterr().out
    assert Router.from_pretrained(folder).route(["a kite"]) == by_hand.route(["a kite"])
    batch = outcome_files.write_lines(tmp_path / "b.jsonl", [outcome_files.batch_line("p0", "x")])
    assert main(["pool", "observe", "large", "--router", str(folder), "--outcomes", str(batch)]) == 2
    assert "by id alone" in capsys.readouterr().err


@pytest.mark.parametrize(("said", "rate"), [("0.2", 0.2), ("estimate", None)])
def test_wrong_labels_are_corrected_by_the_command(folder: Path, scores: Path, said: str, rate: float | None) -> None:
    by_hand = Router.from_pretrained(folder)
    by_hand.add_llm("new", {"p0": 1.0, "p1": 0.5, "p4": 1.0}, 0.3, flip_rate=rate)
    run("add", "new", "--router", folder, "--scores", scores, "--cost", "0.3", "--flip-rate", said)
    prompts = list(PROMPTS.values())
    assert Router.from_pretrained(folder).route(prompts) == by_hand.route(prompts)


def test_answers_of_a_batch_are_graded_as_they_are_read(folder: Path, tmp_path: Path) -> None:
    by_hand = Router.from_pretrained(folder)
    by_hand.add_llm("new", {"p0": 1.0, "p1": 0.0}, 0.3)
    answers = {"p0": "It is 42.", "p1": "41", "p2": "7"}
    lines = [outcome_files.batch_line(prompt_id, answer) for prompt_id, answer in answers.items()]
    batch = outcome_files.write_lines(tmp_path / "batch.jsonl", lines)
    references = tmp_path / "references.csv"
    references.write_text("prompt_id,reference\np0,42\np1,42\np2,no number\n")
    command = ["add", "new", "--router", folder, "--scores", batch, "--cost", "0.3", "--grader", "number"]
    assert main(["pool", *map(str, command)]) == 2
    run(*command, "--references", references)
    prompts = list(PROMPTS.values())
    assert Router.from_pretrained(folder).route(prompts) == by_hand.route(prompts)


def test_latency_is_given_shown_and_counted_where_a_weight_asks_for_it(
    folder: Path, scores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("add", "new", "--router", folder, "--scores", scores, "--cost", "0.0", "--latency", "9")
    assert "add new at cost 0, latency 9 by 3 outcomes" in capsys.readouterr().out
    route = ["route", "--router", str(folder), "--json", "--cost-weight", "0.5", "the otter sings"]
    assert main([*route, "--latency-weight", "0.2"]) == 2
    said = capsys.readouterr().err
    assert "latency of 'small': not known" in said and len(said.splitlines()) == 1
    for name in ("small", "large", "other"):
        run("reprice", name, "--router", folder, "--latency", "1")
    assert listed(folder, capsys)["new"]["latency"] == 9.0
    run("list", "--router", folder)
    assert "seconds" in capsys.readouterr().out
    run("show", "new", "--router", folder)
    assert "9 seconds a call" in " ".join(capsys.readouterr().out.split())
    found = []
    for weight in ("0", "0.2"):
        assert main([*route, "--latency-weight", weight]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[1]["cost"] == pytest.approx(
        {name: cost + 0.2 * (9 if name == "new" else 1) for name, cost in found[0]["cost"].items()}
    )
    assert found[0]["llm"] == "new" != found[1]["llm"]
    assert main(["route", "--router", str(folder), "--latency-weight", "0.2", "the otter"]) == 0
    assert "with 0.2 for each second" in " ".join(capsys.readouterr().out.split())


def test_latency_is_no_cost(folder: Path, scores: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pool", "add", "new", "--router", str(folder), "--scores", str(scores), "--latency", "9"]
    assert main(command) == 2
    assert "cost of 'new': got none" in capsys.readouterr().err
    assert main([*command, "--cost", "1", "--latency-per-token", "0.1"]) == 2
    assert "known for no calibration prompt" in capsys.readouterr().err
