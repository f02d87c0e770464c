"""``unirouter tune``: the cost weight for a target, kept in the router."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_router import KINDS, PROMPTS, small_router

from unirouter_torch import Router
from unirouter_torch.cli import main
from unirouter_torch.routing.latency import Latency


@pytest.fixture(params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    small_router(tmp_path, save_encoder=KINDS[request.param]).save_pretrained(tmp_path / "router")
    return tmp_path / "router"


@pytest.fixture
def outcomes(tmp_path: Path) -> Path:
    rows = ["prompt,llm,score,cost"]
    for number in range(6):
        rows += [f"the kite sings {number},small,{number % 2},0.1", f"the kite sings {number},large,1,2.5"]
    rows.append("nobody knows,stranger,1,1")
    (tmp_path / "held_out.csv").write_text("\n".join(rows))
    return tmp_path / "held_out.csv"


def tuned(capsys: pytest.CaptureFixture[str], *arguments: str | float | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["tune", "--json", *map(str, arguments)]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    return facts


def test_expected_cost_is_that_of_the_routes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tuned(capsys, "--router", folder, "--target-cost", "1.0")
    routes = Router.from_pretrained(folder).route(list(PROMPTS.values()), facts["cost_weight"] + 1e-6)
    cost = sum(route.cost[route.llm] for route in routes) / len(routes)
    quality = 1 - sum(route.estimated_error[route.llm] for route in routes) / len(routes)
    assert facts["expected"] == {"prompts": 5, "cost": pytest.approx(cost), "quality": pytest.approx(quality)}
    assert cost <= 1.0


def test_saving_is_measured_against_the_best_single_llm(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tuned(capsys, "--router", folder, "--target-cost", "1.0")
    router, saving = Router.from_pretrained(folder), facts["saving"]
    error = router.estimate_error(list(PROMPTS.values())).double().mean(0)
    best = int(error.argmin())
    assert saving["best_llm"] == router.pool.names[best]
    assert saving["best_quality"] == pytest.approx(1 - float(error[best]))
    assert saving["cost_share"] == pytest.approx(facts["expected"]["cost"] / saving["best_cost"])
    assert saving["quality_share"] == pytest.approx(facts["expected"]["quality"] / saving["best_quality"])
    assert facts["expected"]["quality"] >= saving["constant_quality"] - 1e-6
    costs, qualities = saving["cost_at"], saving["quality_at"]
    assert list(costs) == ["95", "99", "100"]
    assert costs["95"] <= costs["99"] <= costs["100"] <= 1 + 1e-6
    for percent, quality in qualities.items():
        if quality is not None:
            budget = int(percent) / 100 * float(router.pool.cost.max())
            within = tuned(capsys, "--router", folder, "--target-cost", budget)
            assert quality == pytest.approx(within["expected"]["quality"])
    assert main(["tune", "--router", str(folder), "--target-cost", "1.0"]) == 0
    printed = capsys.readouterr().out
    assert f"of the best single LLM, {saving['best_llm']}" in printed
    assert "95 / 99 / 100% of its quality for" in printed


def test_kept_target_is_met_when_llms_come_and_go(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Router.from_pretrained(folder).cost_weight == 0.1
    facts = tuned(capsys, "--router", folder, "--target-saving", "0.5")
    assert Router.from_pretrained(folder).cost_weight == 0.1
    assert main(["tune", "--router", str(folder), "--target-saving", "0.5", "--save"]) == 0
    assert "revision 1: tune to a saving of 0.5" in capsys.readouterr().out
    router = Router.from_pretrained(folder)
    prompts = list(PROMPTS.values())
    assert router.cost_weight == facts["cost_weight"]
    assert router.route(prompts) == router.route(prompts, facts["cost_weight"])
    router.pool = router.pool.with_changes("large", cost=20.0)
    before = facts["cost_weight"]
    assert router.cost_weight != before
    costs = [route.cost[route.llm] for route in router.route(prompts, router.cost_weight + 1e-6)]
    best = float(router.estimate_error(prompts).mean(0).min())
    single = router.pool.cost[int((router.estimate_error(prompts).mean(0) == best).nonzero()[0, 0])]
    assert sum(costs) / len(costs) <= 0.5 * float(single) * (1 + 1e-6)
    router.undo_pool()
    assert router.cost_weight == 0.1


def test_route_command_takes_the_kept_target(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--router", str(folder), "--target-cost", "0.1", "--save"]) == 0
    capsys.readouterr()
    assert main(["route", "--router", str(folder), "--json", "the otter sings"]) == 0
    assert json.loads(capsys.readouterr().out)["llm"] == "small"
    assert main(["route", "--router", str(folder), "the otter sings"]) == 0
    weight = Router.from_pretrained(folder).cost_weight
    assert f"cost weight {weight:g}" in capsys.readouterr().out


def test_held_out_outcomes_tell_what_is_realised(
    folder: Path, outcomes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    router = Router.from_pretrained(folder)
    estimated = router.estimate_error([f"the kite sings {number}" for number in range(6)])[:, :2]
    seen = set()
    for cost in (0.1, 0.5, 1.0, 2.0):
        facts = tuned(capsys, "--router", folder, "--target-cost", cost, "--outcomes", outcomes)
        total = estimated + facts["cost_weight"] * torch.tensor([0.1, 2.0]) / 2.0
        is_large = total.argmin(-1) == 1
        found = facts["held_out"]
        assert found["num_prompts"] == 6
        assert found["quality"] == pytest.approx(float(torch.where(is_large, 1.0, torch.arange(6.0) % 2).mean()))
        assert found["cost"] == pytest.approx(float(torch.where(is_large, 2.5, 0.1).mean()))
        assert found["expected_cost"] == pytest.approx(float(torch.where(is_large, 2.0, 0.1).mean()))
        expected = torch.where(is_large, estimated[:, 1], estimated[:, 0])
        assert found["expected_quality"] == pytest.approx(1 - float(expected.mean()), abs=1e-6)
        for name in ("quality", "cost"):
            low, high = found[f"{name}_interval"]
            assert low < found[name] < high or [low, high] == pytest.approx([found[name]] * 2)
        seen.add(facts["cost_weight"])
    assert len(seen) > 1


def test_intervals_of_what_is_realised_are_printed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [f"the kite sings {number},small,{number % 2},{0.1 + number % 2}" for number in range(400)]
    (tmp_path / "held_out.csv").write_text("\n".join(["prompt,llm,score,cost", *lines]))
    options = ("--router", folder, "--target-cost", "1.0", "--outcomes", tmp_path / "held_out.csv")
    low, high = tuned(capsys, *options)["held_out"]["quality_interval"]
    assert (low, high) == pytest.approx((0.451, 0.549), abs=0.004)  # 0.5 and 1.96 / sqrt(4 * 400)
    assert main(["tune", *map(str, options)]) == 0
    end = f"realised cost 0.6 [{low + 0.1:.4g}, {high + 0.1:.4g}], quality 0.5000 [{low:.4f}, {high:.4f}]"
    assert f"{end} (95% intervals)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target-cost", "0.01"], "out of reach; the nearest is a cost of 0.1"),
        (["--target-quality", "1"], "out of reach"),
        (["--target-saving", "1"], "target saving: got 1.0"),
        (["--target-cost", "1", "--outcomes", "STRANGE"], "none of its 1 LLMs"),
    ],
)
def test_mistake_ends_with_code_2_and_keeps_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    (tmp_path / "strange.csv").write_text("prompt,llm,score,cost\nkites,stranger,1,1\n")
    arguments = [str(tmp_path / "strange.csv") if argument == "STRANGE" else argument for argument in arguments]
    assert main(["tune", "--router", str(folder), "--save", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert len(list((folder / "pool").iterdir())) == 1


def test_latency_counts_as_a_cost_in_what_a_target_gives(
    folder: Path, outcomes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    router = Router.from_pretrained(folder)
    for name, seconds in (("small", 4.0), ("large", 1.0), ("other", 2.0)):
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=seconds))
    router.save_pool("time")
    weight = ("--latency-weight", "0.3")
    facts = tuned(capsys, "--router", folder, "--target-cost", "1.6", "--outcomes", outcomes, *weight)
    routes = router.route(list(PROMPTS.values()), facts["cost_weight"] + 1e-6, latency_weight=0.3)
    assert facts["expected"]["cost"] == pytest.approx(sum(route.cost[route.llm] for route in routes) / len(routes))
    assert {0.1 + 0.3 * 4.0, 2.0 + 0.3 * 1.0, 0.5 + 0.3 * 2.0} >= {round(route.cost[route.llm], 6) for route in routes}
    assert facts["held_out"]["expected_cost"] >= 0.1 + 0.3 * 4.0 - 1e-6


def with_latencies(folder: Path, **seconds: float) -> Router:
    router = Router.from_pretrained(folder)
    for name, its in seconds.items():
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=its))
    router.save_pool("time")
    return router


def test_kept_target_counts_latency_wherever_the_router_is_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    router = with_latencies(folder, small=4.0, large=1.0, other=2.0)
    cost_weight = tuned(capsys, "--router", folder, "--target-cost", "1.6", "--latency-weight", "0.3", "--save")[
        "cost_weight"
    ]
    expected = router.route(list(PROMPTS.values()), cost_weight, latency_weight=0.3)
    again = Router.from_pretrained(folder)
    assert again.route(list(PROMPTS.values())) == expected
    assert again.choose(list(PROMPTS.values())) == [route.llm for route in expected]
    assert again.cost_weight == pytest.approx(cost_weight)
    assert main(["route", "--router", str(folder), "--json", *PROMPTS.values()]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["cost"] for line in lines] == [pytest.approx(route.cost) for route in expected]
    # asked for otherwise, it is otherwise
    assert again.route(list(PROMPTS.values()), latency_weight=0.0)[0].cost["small"] == pytest.approx(0.1)


def test_change_that_leaves_a_kept_target_without_a_latency_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_latencies(folder, small=4.0, large=1.0, other=2.0)
    tuned(capsys, "--router", folder, "--target-cost", "1.6", "--latency-weight", "0.3", "--save")
    scores = tmp_path / "scores.csv"
    scores.write_text("prompt_id,score\n" + "".join(f"{prompt_id},1\n" for prompt_id in PROMPTS))
    join = ["pool", "add", "new", "--router", str(folder), "--scores", str(scores), "--cost", "0.2"]
    assert main(join) == 2
    assert "latency of 'new': not known" in capsys.readouterr().err
    assert main([*join, "--latency", "1.5"]) == 0
    assert Router.from_pretrained(folder).pool.names[-1] == "new"


def test_cautious_choice_among_some_llms_is_tuned_and_not_kept(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choice = {"caution": 0.9, "llms": ["small", "large"]}
    options = ("--router", folder, "--target-cost", "1.0", "--caution", "0.9", "--llms", "small", "large")
    facts = tuned(capsys, *options)
    router, prompts = Router.from_pretrained(folder), list(PROMPTS.values())
    routes = router.route(prompts, facts["cost_weight"] + 1e-6, **choice)
    assert {route.llm for route in routes} <= {"small", "large"}
    quality = sum(1 - route.estimated_error[route.llm] for route in routes) / len(routes)
    assert facts["expected"]["quality"] == pytest.approx(quality)
    assert main(["tune", *map(str, options), "--save"]) == 2
    assert "--save: a target is kept for all LLMs without caution" in capsys.readouterr().err


def test_target_without_a_latency_weight_is_written_as_before(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuned(capsys, "--router", folder, "--target-cost", "1.6", "--save")
    newest = sorted((folder / "pool").iterdir())[-1]
    content = newest.read_bytes()
    assert b"latency_weight" not in content
    assert b"1.6" in content
