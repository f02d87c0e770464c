"""From the command line to an LLM in the pool, against an endpoint on loopback."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_encoder
import torch
from misbehaving_endpoint import ANSWER_TOKENS, PROMPT_TOKENS, Endpoint, endpoint_on_loopback

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.encoder.prompt_encoder import PromptEncoder
from unirouter_torch.measurement.endpoint import KEY_VARIABLE
from unirouter_torch.router.calibration import CalibrationPrompts, TokenPrices
from unirouter_torch.routing.cluster_error import overall_error
from unirouter_torch.routing.head import ClusterHead
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.prompt_selection import OutcomeAdjustment

PROMPTS = {f"id {number}": f"prompt {number}" for number in range(12)}
COST = (PROMPT_TOKENS * 1000 + ANSWER_TOKENS * 2000) / 1e6


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv(KEY_VARIABLE, "sk-made-up")
    with endpoint_on_loopback() as endpoint:
        endpoint.answer = lambda message: f"The answer is {message.split()[1]}"
        yield endpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved = tiny_encoder.save_bert(tmp_path / "bert", pooling={"pooling_mode_mean_tokens": True})
    encoder, head = PromptEncoder.from_pretrained(str(saved)), ClusterHead(tiny_encoder.DIM, 3)
    texts = tuple(PROMPTS.values())
    with torch.no_grad():
        probability = head(encoder.embed(texts))
    calibration = CalibrationPrompts(prompt_ids=tuple(PROMPTS), texts=texts, cluster_probability=probability)
    router = Router(encoder=encoder, head=head, pool=LLMPool.empty(3), calibration=calibration, about={})
    router.add_llm("old", dict.fromkeys(PROMPTS, 0.5), 1.0)
    router.save_pretrained(tmp_path / "router")
    return tmp_path / "router"


@pytest.fixture
def command(folder: Path, server: Endpoint, tmp_path: Path) -> list[str]:
    with (tmp_path / "references.csv").open("w", newline="") as file:
        rows = [(prompt_id, "0" if number < 3 else str(number)) for number, prompt_id in enumerate(PROMPTS)]
        csv.writer(file).writerows([("prompt_id", "reference"), *rows, ("another prompt", "1")])
    command = ["measure", "--router", str(folder), "--llm", "new/one", "--base-url", server.url]
    command += ["--references", str(tmp_path / "references.csv"), "--grader", "number", "--backoff", "0.001"]
    return [*command, "--price-in", "1000", "--price-out", "2000", "--max-tokens", "50", "--budget", "10"]


def test_llm_joins_with_its_scores_prices_and_the_lengths_of_its_answers(
    command: list[str], folder: Path, server: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = {"prompt 5": ["429", "broken_json"], "prompt 6": ["content_filter"]}
    assert main(command) == 0
    router = Router.from_pretrained(folder)
    scores = {prompt_id: float(number == 0 or number >= 3) for number, prompt_id in enumerate(PROMPTS)}
    del scores["id 6"]
    expected = Router.from_pretrained(folder)
    lengths = dict.fromkeys(scores, float(ANSWER_TOKENS))
    expected.add_llm("expected", scores, 0.0, tokens=TokenPrices(price_in=1e-3, price_out=2e-3, output_tokens=lengths))
    assert router.pool.names == ("old", "new/one")
    assert [llm.name for llm in router.pool.llms if llm.latency] == ["new/one"]
    assert router.pool["new/one"].latency.seconds > 0
    for sums in expected.pool.sums:
        torch.testing.assert_close(sums[1], sums[2])
    prompts = ["short", "a prompt of many more words"]
    _, of_new, of_expected = zip(*(route.cost.values() for route in expected.route(prompts)), strict=True)
    assert of_new == of_expected and of_new[0] < of_new[1]
    printed = capsys.readouterr().out
    assert "12 prompts, at most 2.066 US dollars; budget 10" in printed
    assert "11 of 12 prompts" in printed and "0.182 (95% interval 0.051 to 0.477)" in printed
    assert "content filter (1)" in printed and "10 of the prompt and 5 of the answer" in printed
    assert f"cost      {COST:.4g} US dollars per prompt" in printed
    assert "seconds per call (median)" in printed
    assert "calibrate new/one at price in 1000, price out 2000 by 11 outcomes" in printed
    assert (folder.parent / "calibrate_new_one.jsonl").exists()


def test_llm_of_uncounted_tokens_joins_at_the_mean_cost_of_its_answers(
    command: list[str], folder: Path, server: Endpoint
) -> None:
    server.default = "no_usage"
    assert main(command) == 0
    pool = Router.from_pretrained(folder).pool
    assert not any(llm.token_cost for llm in pool.llms)
    worst = sum((len(prompt) + 64) * 1000 + 50 * 2000 for prompt in PROMPTS.values()) / 1e6 / len(PROMPTS)
    assert pool.cost[1].item() == pytest.approx(worst)


def test_too_few_answers_end_with_a_message_and_the_same_command_goes_on(
    command: list[str], folder: Path, server: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    server.plan = {prompt: ["500"] * 6 for prompt in list(PROMPTS.values())[:7]}
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "only 5 of 12 prompts have a score" in said and "status 500 (7)" in said
    assert Router.from_pretrained(folder).pool.names == ("old",)
    assert main(command) == 0
    assert Router.from_pretrained(folder).pool.names == ("old", "new/one")
    assert set(server.billed.values()) == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--llm", "old"], "'old' is in it already"),
        (["--router", "unirouter-minilm"], "lies in no folder"),
        (["--cost", "-1"], "cost of 'new/one': got -1.0"),
        (["--grader", "wrong"], "--grader: got 'wrong', expected one of choice, exact"),
        (["--grader", "judge", "--judge-model", "j"], "--judge-price-in"),
        (["--references", "gone.csv"], "gone.csv: no such file"),
        (["--concurrency", "0"], "--concurrency: got 0"),
    ],
)
def test_mistake_costs_nothing(
    command: list[str], server: Endpoint, change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *change]) == 2
    assert message in capsys.readouterr().err
    assert not server.requests


def test_extra_fields_are_an_object(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("[]", "{"):
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--extra", wrong])
        assert f"--extra: got '{wrong}', expected a JSON object" in capsys.readouterr().err


def test_references_of_other_prompts_and_other_units_are_refused(
    command: list[str], folder: Path, server: Endpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "others.csv").write_text("prompt_id,reference\nx,1\n")
    assert main([*command, "--references", str(tmp_path / "others.csv")]) == 2
    assert "none of its 1 prompt ids" in capsys.readouterr().err
    router = Router.from_pretrained(folder)
    router.pool = LLMPool.empty(3, cost_unit="billion parameters")
    router.save_pretrained(folder)
    assert main(command) == 2
    assert "Give --cost" in capsys.readouterr().err and not server.requests
    assert main([*command, "--cost", "7"]) == 0
    assert Router.from_pretrained(folder).pool.cost.tolist() == [7.0]


def test_chosen_prompts_are_asked_in_their_order_and_count_as_prompts_in_general(
    command: list[str], folder: Path, server: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    router = Router.from_pretrained(folder)
    adjustment = OutcomeAdjustment(offset=torch.full((12,), 0.1), slope=torch.full((12,), 0.5))
    router.calibration = replace(router.calibration, adjustment=adjustment)
    router.save_pretrained(folder)
    assert main([*command, "--concurrency", "1"]) == 0
    assert [request["messages"][0]["content"] for request in server.requests] == list(PROMPTS.values())
    assert "0.183 (95% interval 0.123 to 0.324)" in capsys.readouterr().out
    pool = Router.from_pretrained(folder).pool
    assert overall_error(pool.sums)[1].item() == pytest.approx(0.1 + 0.5 * 2 / 12)
    assert main([*command, "--llm", "quick", "--concurrency", "1", "--until-interval", "0.16"]) == 0
    assert len(server.requests) == 12 + 6
