"""The scripts and examples, run in this process, which has imported already what they need."""

import json
import runpy
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from miniature import ROOT, miniature

from unirouter_torch.config.training import TrainConfig
from unirouter_torch.data.load import load_table
from unirouter_torch.data.simulate.tables import simulate_tables
from unirouter_torch.data.sources.parquet_folder import write_parquet_folder
from unirouter_torch.experiments.run import RunResult


class Ran(NamedTuple):
    """How a script ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


Script = Callable[..., Ran]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Script:
    """Runs a script of the repository as the main program, in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))

    def run(name: str, *arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        code = 0
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Ran(code, *capfd.readouterr())

    return run


def test_written_simulated_table_is_the_one_that_trains_by_default(script: Script, tmp_path: Path) -> None:
    sizes = ("--prompts", "60", "--llms", "6")
    result = script("scripts/write_simulated_table.py", "--output", str(tmp_path), *sizes)
    assert str(tmp_path) in result.stdout
    assert load_table(str(tmp_path)).content_hash == load_table("simulated:60x6").content_hash


def test_mistake_ends_the_script_with_code_2(script: Script, tmp_path: Path) -> None:
    result = script("scripts/write_simulated_table.py", "--output", str(tmp_path), "--prompts", "1")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


EVALUATION = ("scripts/benchmark_evaluation.py", "--repeats", "1", "--output", "benchmark.json")


def test_benchmark_times_the_curve_and_every_method_asked_for(script: Script, workshop: Path, tmp_path: Path) -> None:
    settings = miniature(workshop, "--evaluation.methods", "[zero, kmeans, end_to_end]")
    sizes = ("--sizes", "12x4", "400x6", "--points", "7")
    result = script(*EVALUATION, *sizes, *settings)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "benchmark.json").read_text())

    small, large = found["curve"]
    assert (small["num_prompts"], small["num_llms"], large["num_prompts"], large["num_llms"]) == (12, 4, 400, 6)
    assert set(small["seconds"]) == {"exact", "grid", "brute_force"}
    assert set(large["seconds"]) == {"exact", "grid"}
    assert small["num_points"]["grid"] == large["num_points"]["grid"] == 7
    assert small["area"]["exact"] == pytest.approx(small["area"]["brute_force"])
    assert small["exact_to"]["grid"] == small["seconds"]["exact"] / small["seconds"]["grid"]

    methods = ["knn", "zero", "kmeans", "end_to_end"]
    assert list(found["trial"]["to_knn"]) == methods
    assert found["trial"]["to_knn"]["knn"] == 1.0
    assert found["trial"]["all_to_knn"] == pytest.approx(sum(found["trial"]["to_knn"].values()))
    assert all(f"| {name} |" in result.stdout for name in [*methods, "12 x 4", "400 x 6", "all"])


@pytest.mark.parametrize("mistake", [("--sizes", "12x1"), ("--data.path", "none")])
def test_mistake_ends_the_benchmark_with_code_2(
    script: Script, workshop: Path, tmp_path: Path, mistake: tuple[str, str]
) -> None:
    result = script(*EVALUATION, *miniature(workshop), *mistake)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "benchmark.json").exists()


def test_example_runs_as_it_stands(script: Script) -> None:
    printed = script("examples/adopt_trained_router.py").stdout.splitlines()
    quality = [float(line.split()[1]) for line in printed[1:4]]
    cost = [float(line.split()[2]) for line in printed[1:4]]
    assert len(printed) == 1 + 3 + 6
    assert all(0 <= value <= 1 for value in quality)
    assert cost == sorted(cost, reverse=True)


def test_example_of_efforts_takes_less_effort_as_cost_counts_more(script: Script) -> None:
    printed = script("examples/reasoning_efforts.py").stdout
    free, middle, costly = (
        [line.split()[1] for line in part.splitlines()[1:]] for part in printed.split("cost weight")[1:]
    )
    assert set(free) == {"thinker-high"}
    assert len(set(middle)) > 1 and len(set(costly)) > 1
    order = ["small", "thinker-low", "thinker-medium", "thinker-high"]
    assert all(order.index(less) <= order.index(more) for less, more in zip(costly, middle, strict=True))


def test_imperfect_calibration_is_measured_and_kept(script: Script, workshop: Path, tmp_path: Path) -> None:
    settings = ("--output", "kept", "--trials", "1", *miniature(workshop))
    result = script("scripts/imperfect_calibration.py", *settings)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "kept" / "seed_0.json").read_text())
    assert found["flip rate estimated from flipped labels"] > found["flip rate estimated from true labels"]
    assert all(f"| {name} |" in result.stdout for name in found)


def test_feedback_is_measured(script: Script, workshop: Path) -> None:
    settings = miniature(workshop, table="simulated:1200x6")
    result = script("scripts/feedback_stream.py", "--trials", "1", *settings)
    assert result.returncode == 0, result.stderr
    rows = dict(line.strip("| ").split(" | ", 1) for line in result.stdout.splitlines() if line.startswith("| "))
    assert rows["stationary, half-life inf: alarm"].split(" | ")[1] == "0.0000"
    assert "flipped, half-life 200: squared error" in rows


@pytest.mark.parametrize("counted", [True, False])
def test_costs_that_depend_on_the_prompt_are_compared_with_mean_ones(
    script: Script, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_parquet_folder(tmp_path / "table", *simulate_tables(num_prompts=300, num_llms=6, seed=0))
    if not counted:  # characters alone, beside a column of tokens that is empty
        path = tmp_path / "table" / "outcomes.parquet"
        outcomes = pq.read_table(path)
        characters = pc.multiply(outcomes["output_tokens"], 4.0)
        place, nothing = outcomes.column_names.index("output_tokens"), pa.nulls(outcomes.num_rows, pa.float64())
        outcomes = outcomes.set_column(place, "output_tokens", nothing)
        pq.write_table(outcomes.append_column("output_chars", characters), path)
    settings = ("--trials", "2", "--num-calibration", "40", "--encoder", str(workshop / "encoder"))
    result = script("scripts/compare_token_costs.py", "table", *settings)
    assert result.returncode == 0, result.stderr
    rows = [line.strip("| ").split(" | ") for line in result.stdout.splitlines()[2:]]
    assert len(rows) == 3 and all(row[2].endswith(" of 2") for row in rows)
    assert float(rows[-1][1].split()[0]) < 1.0, "who knows every length pays less"


def test_estimates_are_checked_against_bills(script: Script, tmp_path: Path) -> None:
    price_in, price_out = {"small": 0.1, "middle": 1.0, "large": 10.0}, {"small": 0.3, "middle": 4.0, "large": 30.0}
    texts = {f"{number:02}": f"Task {number % 6}: " + "word " * (number + 5) for number in range(36)}
    outcomes = []
    for number, (prompt_id, text) in enumerate(texts.items()):
        for place, llm in enumerate(price_in):
            tokens = 50 + 7 * ((number * 5 + place * 3) % 11)
            dollars = (len(text) / 4 * price_in[llm] + tokens * price_out[llm]) / 1e6
            outcome = {"prompt_id": prompt_id, "model_id": llm, "score": float((number + place) % 4 < place + 1)}
            outcomes.append(
                outcome | {"output_tokens": tokens, "cost_usd": dollars, "latency": 1 + place * tokens / 50}
            )
    prompts = [{"prompt_id": name, "prompt": text, "source": text[:6]} for name, text in texts.items()]
    models = [{"model_id": llm, "price_in": price_in[llm], "price_out": price_out[llm]} for llm in price_in]
    write_parquet_folder(tmp_path / "table", *(pa.Table.from_pylist(part) for part in (prompts, models, outcomes)))
    result = script("scripts/billed_dollars.py", "table", "--trials", "2", "--output", "found.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["estimated_to_billed"] == pytest.approx(dict.fromkeys(price_in, 1.0))
    dollars, seconds = found["misses"]["dollars"], found["misses"]["seconds"]
    exact = "the length as it turned out"
    assert dollars[f"list prices, {exact}"]["the list price agrees"] == pytest.approx(0.0, abs=1e-9)
    assert dollars["the mean bill of the LLM"]["the list price agrees"] > 0.01
    assert seconds[f"seconds by the token, {exact}"]["all"] == pytest.approx(0.0, abs=1e-6)
    times = [route["seconds"] for route in found["routes"].values()]
    assert times == sorted(times, reverse=True), "the more a second costs, the fewer are taken"
    assert "3 of 3 list prices agree with the bills" in result.stdout


def test_settings_of_one_llm_are_judged_as_llms_of_their_own(
    script: Script, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prompts, models, outcomes = simulate_tables(num_prompts=150, num_llms=10, seed=0)
    groups = pa.array([f"llm-{number // 2}" for number in range(10)])
    write_parquet_folder(tmp_path / "table", prompts, models.append_column("llm_group", groups), outcomes)
    config = tmp_path / "config.yaml"
    config.write_text(f"""
data: {{path: table, num_calibration: 12, unseen_fraction: 0.4}}
encoder: {{name: {workshop / "encoder"}}}
trainer: {{max_steps: 2}}
""")
    result = script("scripts/settings_as_llms.py", "--config", str(config), "--trials", "1")
    assert result.returncode == 0, result.stderr
    assert "table, all LLMs: 4 settings of 2 in the first trial" in result.stdout
    assert "table, LLMs with several: 4 settings of 2 in the first trial" in result.stdout
    oracle = next(line for line in result.stdout.splitlines() if line.startswith("| Oracle"))
    assert float(oracle.split("|")[2]) <= float(oracle.split("|")[3]), "more to choose from never harms the oracle"


def test_ours_are_compared_without_a_peer_and_the_page_is_written_from_the_file(
    script: Script, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = tmp_path / "config.yaml"
    config.write_text(f"""
data: {{path: "simulated:150x9", num_calibration: 12}}
encoder: {{name: {workshop / "encoder"}}}
trainer: {{max_steps: 2}}
""")
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: peers.json -->\nold\n<!-- end: peers.json -->\nafter\n")
    settings = ("--output", "found.json", "--page", str(page), "--configs", str(config))
    result = script("scripts/compare_peers.py", "--trials", "1", *settings)
    assert result.returncode == 0, result.stderr
    records = json.loads((tmp_path / "found.json").read_text())["records"]
    assert {(record["pool"], record["num_llms"], record["num_labelled"]) for record in records} == {
        ("fixed", 9, 105),
        ("new", 3, 12),
    }
    assert all(0 < record["default"]["area"] < 1 and record["single_per_second"] > 0 for record in records)
    text = page.read_text()
    assert text.startswith("before\n<!-- begin") and text.endswith("end: peers.json -->\nafter\n") and "old" not in text
    assert "| vLLM's hierarchical shrinkage, as shipped | 0." in text
    wrong = script("scripts/compare_peers.py", *settings, "--pythons", "nobody=python")
    assert wrong.returncode == 2 and "expected one of llmrouter, routellm" in wrong.stderr


def test_scoring_benchmark_answers_every_question(
    script: Script, tmp_path: Path, result: RunResult, config: TrainConfig
) -> None:
    arguments = ["--output", "scoring.json", "--routers", str(Path(config.output_dir) / "router")]
    run = script("scripts/benchmark_scoring.py", "--quick", "--repeats", "1", *arguments)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "scoring.json").read_text())
    assert found["left_out"] == []
    for row in found["scoring"]:
        assert row["same_choices"] == 1.0
        assert row["to_product"] == row["seconds"]["unirouter"] / row["seconds"]["product"]
    for row in found["pruning"]:
        assert 1 <= row["num_kept"] <= row["num_llms"] == len(result.router.pool.names)
    assert "scikit-learn" in found["neighbors"][0]["times_as_fast"]
    assert ("not installed" in run.stdout) == (find_spec("faiss") is None)
    assert len(found["onboarding"]) == 2


QUICK = ("--output", "found.json", "--quick")


def test_encoding_benchmark_compares_equal_embeddings(script: Script, workshop: Path, tmp_path: Path) -> None:
    arguments = ("--encoder", str(workshop / "encoder"), "--batch-sizes", "4", "8")
    run = script("scripts/benchmark_encoding.py", *QUICK, *arguments)
    assert run.returncode == 0, run.stderr
    (row,) = json.loads((tmp_path / "found.json").read_text())["encoding"]
    assert (row["table"], row["num_prompts"]) == ("simulated", 16)
    assert 1 <= row["padded_share"] < 1.5
    ways = ["sentence_transformers_4", "sentence_transformers_8"]
    if find_spec("sentence_transformers") is None:
        assert row["times_as_fast"] == {} and "not installed" in run.stdout
    else:
        assert row["largest_difference"] < 1e-5
        assert row["times_as_fast"] == {name: row["seconds"][name] / row["seconds"]["unirouter"] for name in ways}


def test_training_benchmark_trains_on_one_loss_in_every_way(script: Script, workshop: Path, tmp_path: Path) -> None:
    run = script("scripts/benchmark_training.py", *QUICK, "--encoder", str(workshop / "encoder"))
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    losses = found["trainers"]["losses"]
    assert len(losses["unirouter"]) == found["trainers"]["num_steps"] == 2
    assert losses["plain_loop"] == pytest.approx(losses["unirouter"], rel=1e-4)
    if find_spec("sentence_transformers") is not None:
        assert losses["sentence_transformers"][0] == pytest.approx(losses["unirouter"][0], rel=0.2)
    assert set(found["trainers"]["times_as_fast"]) == set(losses) - {"unirouter"}
    assert {row["llms"] for row in found["growth"]} == {3, 5, 6}


def test_serving_benchmark_compares_both_ways_under_every_load(
    script: Script, tmp_path: Path, result: RunResult, config: TrainConfig
) -> None:
    assert result.router.pool.names
    folder = str(Path(config.output_dir) / "router")
    sizes = ("--table", "simulated:60x6", "--clients", "1", "3", "--seconds", "0.3", "--repeats", "1", "--threads", "1")
    run = script("scripts/benchmark_serving.py", "--output", "found.json", "--router", folder, *sizes)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr and "leaked" not in run.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert [row["clients"] for row in found["load"]] == [1, 3]
    for row in found["load"]:
        together, alone = row["ways"]["together"], row["ways"]["one_at_a_time"]
        assert alone["batch"] == 1 <= together["batch"] <= row["clients"]
        for way in (together, alone):
            assert way["p50"] <= way["p95"] <= way["p99"]
            assert way["stages"]["encode"] < way["p99"]
        ratios = row["together_to_one_at_a_time"]
        assert ratios == {name: together[name] / alone[name] for name in ratios}


def test_archive_benchmark_routes_every_prompt_and_says_what_memory_it_took(
    script: Script, tmp_path: Path, result: RunResult, config: TrainConfig
) -> None:
    assert result.router.pool.names
    folder = str(Path(config.output_dir) / "router")
    sizes = ("--table", "simulated:60x6", "--prompts", "24", "--slow-prompts", "6", "--shards", "3", "--threads", "1")
    arguments = ("--output", "found.json", "--router", folder, "--slow-router", folder)
    run = script("scripts/benchmark_archive.py", *arguments, *sizes)
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "found.json").read_text())["routers"]
    assert [row["num_prompts"] for row in rows] == [24, 6]
    for row in rows:
        assert row["hours_per_million"] == pytest.approx(1e6 / 3600 / row["rows_per_second"])
        assert min(row["resident_at_a_tenth"], row["resident_at_the_end"]) > 0


def test_latency_benchmark_shares_a_route_out_among_its_stages(
    script: Script, tmp_path: Path, result: RunResult, config: TrainConfig
) -> None:
    assert result.router.pool.names
    folder = str(Path(config.output_dir) / "router")
    sizes = ("--table", "simulated:60x6", "--prompts", "5", "--seconds", "0.3", "--repeats", "1", "--threads", "1")
    run = script("scripts/benchmark_latency.py", "--output", "found.json", "--router", folder, *sizes)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert set(found["stages"]) == {"text", "tokenize", "table", "form", "head", "choice", "answer", "all"}
    for way in ("route", "served"):
        assert found[way]["p10"] <= found[way]["p50"] <= found[way]["p99"]
    assert all(its["processor"] > 0 for its in found["start"].values())


def test_load_script_counts_every_chat_and_the_memory_of_each_tenth(
    script: Script, tmp_path: Path, result: RunResult, config: TrainConfig
) -> None:
    assert result.router.pool.names
    folder = str(Path(config.output_dir) / "router")
    sizes = ("--clients", "2", "--requests", "8", "--repeats", "1", "--memory-clients", "2", "--memory-requests", "20")
    run = script("scripts/load_server.py", "--output", "found.json", "--router", folder, *sizes)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    (row,) = found["load"]
    assert row["clients"] == 2 and 0 < row["unirouter"]["p50"] <= row["unirouter"]["p99"]
    sizes_of_tenths = found["memory"]["resident_bytes"]
    assert (
        len(sizes_of_tenths) == 10
        and found["memory"]["last_to_second_tenth"] == sizes_of_tenths[9] / sizes_of_tenths[1]
    )


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("benchmark_encoding.py", ("--tables", "none")),
        ("benchmark_training.py", ("--table", "simulated:6x4")),
    ],
)
def test_mistake_ends_other_benchmarks_with_code_2(
    script: Script, name: str, mistake: tuple[str, str], tmp_path: Path
) -> None:
    run = script(f"scripts/{name}", *QUICK, *mistake)
    assert run.returncode == 2, run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "found.json").exists()


def test_encoders_are_compared_on_the_same_trials(script: Script, tmp_path: Path, workshop: Path, static: Path) -> None:
    recipe = tmp_path / "trials_small.yaml"
    recipe.write_text("data:\n  path: simulated:60x6\n  num_calibration: 20\ntrainer:\n  max_steps: 4\n")
    trained = f"{static}+encoder_training.mode=full+encoder_training.max_steps=2"
    contenders = [str(workshop / "encoder"), f"{static}@kmeans+encoder.form_weight=1", trained]
    known = {"small": {contenders[0]: {"0": [0.25, 0.125]}}}
    (tmp_path / "found.json").write_text(json.dumps(known))
    arguments = ("--output", "found.json", "--trials", "2", "--configs", str(recipe), "--contenders", *contenders)
    run = script("scripts/compare_encoders.py", *arguments)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "found.json").read_text())["small"]
    assert list(found) == contenders and all(list(trials) == ["0", "1"] for trials in found.values())
    assert found[contenders[0]]["0"] == [0.25, 0.125], "a trial that the file has is not computed again"
    means = [sum(area for area, _ in trials.values()) / 2 for trials in found.values()]
    rows = [line for line in run.stdout.splitlines() if line.startswith("| small")]
    for row, mean in zip(rows, means, strict=True):
        assert f"{mean:.4f} / " in row and f"{mean - means[0]:+.4f}" in row


def test_static_benchmark_times_the_way_from_text_to_choice(
    script: Script, tmp_path: Path, workshop: Path, static: Path
) -> None:
    arguments = ("--encoder", str(static), "--transformer", str(workshop / "encoder"), "--prompts", "20")
    run = script("scripts/benchmark_static.py", "--output", "found.json", *arguments)
    assert run.returncode == 0, run.stderr
    (row,) = json.loads((tmp_path / "found.json").read_text())["tables"]
    each = row["seconds_each"]
    assert row["times_as_fast"]["transformer"] == each["transformer"] / each["static"]


def test_interpreters_that_are_not_here_are_named_by_the_check_of_a_release(script: Script, tmp_path: Path) -> None:
    result = script("scripts/release_check.py", "no.whl", "--pythons", "python0.1", "--folder", str(tmp_path / "bare"))
    assert result.returncode == 1  # nothing was checked
    assert "| python0.1 | | | | | not checked: not found, or does not start |" in result.stdout
