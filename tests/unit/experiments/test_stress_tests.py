"""What each stress hands to the methods, and what it is judged by."""

from pathlib import Path
from typing import Any

import pytest
import torch
from miniature import miniature
from tiny_encoder import DIM, save_bert

from unirouter_torch.config.files import parse_config
from unirouter_torch.experiments import stress_tests
from unirouter_torch.experiments.disturbances import GREETING, THANKS
from unirouter_torch.experiments.embedded_table import EmbeddedTable, embed_table, load_encoder
from unirouter_torch.experiments.stress_tests import Bench, Case
from unirouter_torch.metrics.figures import figures_of
from unirouter_torch.metrics.judged import Judged, Truth
from unirouter_torch.shapes import PromptSubset
from unirouter_torch.training.clustering import assign_to_nearest

SEED = 1


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    save_bert(folder / "encoder")
    return folder


@pytest.fixture(scope="module")
def bench(workshop: Path) -> Bench:
    settings = ("--evaluation.methods", "[zero, kmeans, end_to_end]", "--head.num_clusters", "4")
    config = parse_config(miniature(workshop, *settings, "--data.num_calibration", "60", table="simulated:1000x12"))
    # random embeddings tell every prompt apart
    embedding = torch.randn(1000, DIM, generator=torch.Generator().manual_seed(0))
    return Bench(config, EmbeddedTable(table=embed_table(config).table, embedding=embedding), SEED)


@pytest.fixture
def cases(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> dict[str, Case]:
    """What the stress that runs next hands over; nothing is fitted."""
    found: dict[str, Case] = {}
    monkeypatch.setattr(bench, "run", lambda given: found.update(given) or {})
    return found


def sources(bench: Bench, prompts: PromptSubset) -> set[int]:
    return set(bench.embedded.table.source_index[prompts].tolist())


def judged_sources(bench: Bench, case: Case) -> set[int]:
    assert case.judged is not None
    return sources(bench, bench.split.test_prompts[case.judged])


def rows_of(bench: Bench, embedding: torch.Tensor) -> PromptSubset:
    """Rows of the table with these embeddings."""
    number = {tuple(row): at for at, row in enumerate(bench.embedded.embedding.tolist())}
    return torch.tensor([number[tuple(row)] for row in embedding.tolist()])


def test_a_left_out_source_is_tested_but_neither_trained_nor_calibrated_on(
    bench: Bench, cases: dict[str, Case]
) -> None:
    about = stress_tests.left_out_source(bench).about
    left_out = bench.embedded.table.source_names.index(about["source"])
    all_sources, other = cases["all sources"], cases["other sources"]
    assert judged_sources(bench, other) == {left_out}
    assert len(other.judged) == about["num_judged"] == int((bench.trial.test_source == left_out).sum())
    assert torch.equal(all_sources.judged, other.judged)
    assert left_out not in sources(bench, other.trial.calibration_prompts)
    for part in ("train", "clairvoyant"):
        trained = sources(bench, rows_of(bench, getattr(other.trial, part).embedding))
        assert left_out not in trained and len(trained) > 1
    assert len(all_sources.trial.calibration_prompts) == len(other.trial.calibration_prompts)
    for mine, theirs in (
        (all_sources.trial.train, other.trial.train),
        (all_sources.trial.tuning.validation, other.trial.tuning.validation),
    ):
        assert mine.embedding.shape == theirs.embedding.shape
    assert left_out in sources(bench, rows_of(bench, all_sources.trial.train.embedding))


def test_calibration_prompts_of_wrong_sources_share_none_with_the_test(bench: Bench, cases: dict[str, Case]) -> None:
    about = stress_tests.wrong_sources(bench).about
    right, wrong = cases["all sources"], cases["wrong sources"]
    assert list(cases) == ["all sources", "wrong sources"]
    assert not sources(bench, wrong.trial.calibration_prompts) & judged_sources(bench, wrong)
    assert sources(bench, right.trial.calibration_prompts) & judged_sources(bench, right)
    assert torch.equal(right.judged, wrong.judged)
    assert len(right.trial.calibration_prompts) == len(wrong.trial.calibration_prompts) == about["num_calibration"]
    assert all(case.trial.train is bench.trial.train for case in cases.values())


def test_shares_of_the_calibration_outcomes_are_flipped(bench: Bench, cases: dict[str, Case]) -> None:
    stress_tests.flipped_labels(bench)
    before = bench.trial.calibration
    counts = before.observed & (before.error != 0.5)
    shares = {
        level: float((case.trial.calibration.error != before.error)[counts].double().mean())
        for level, case in cases.items()
    }
    assert shares == pytest.approx({"0%": 0.0, "5%": 0.05, "10%": 0.1, "20%": 0.2, "40%": 0.4}, abs=0.015)
    assert all(case.trial.test is bench.trial.test and case.judged is None for case in cases.values())


def test_shares_of_the_calibration_outcomes_are_missing(bench: Bench, cases: dict[str, Case]) -> None:
    stress_tests.missing_outcomes(bench)
    before = bench.trial.calibration.observed
    shares = {level: 1 - float(case.trial.calibration.observed.sum() / before.sum()) for level, case in cases.items()}
    expected = {"0%": 0.0, "10%": 0.1, "30%": 0.3, "50%": 0.5, "70%": 0.7, "90%": 0.9}
    assert shares == pytest.approx(expected, abs=0.005)
    assert all(bool(case.trial.calibration.observed.any(0).all()) for case in cases.values())


def test_fewer_calibration_prompts_are_part_of_the_others_and_known_to_the_tuning(
    bench: Bench, cases: dict[str, Case]
) -> None:
    stress_tests.few_calibration_prompts(bench)
    assert list(cases) == ["all", "50", "20", "10"]
    larger = set(bench.trial.calibration_prompts.tolist())
    assert len(larger) == 60
    for level in ("50", "20", "10"):
        trial = cases[level].trial
        prompts = set(trial.calibration_prompts.tolist())
        assert len(prompts) == len(trial.calibration.embedding) == trial.tuning.num_calibration == int(level)
        assert prompts < larger
        assert torch.equal(rows_of(bench, trial.calibration.embedding), trial.calibration_prompts)
        larger = prompts


def test_disturbed_prompts_change_the_judged_test_embeddings_alone(bench: Bench, cases: dict[str, Case]) -> None:
    about = stress_tests.disturbed_prompts(bench).about
    judged = cases["as they are"].judged
    assert judged is not None and judged.tolist() == sorted(set(judged.tolist()))
    assert len(judged) == about["num_judged"] == min(300, len(bench.can_be_judged))
    assert cases["as they are"].trial is bench.trial
    encoder = load_encoder(bench.config)
    texts = bench.embedded.table.prompt_texts
    before = bench.trial.test.embedding
    others = torch.ones(len(before), dtype=torch.bool).index_fill(0, judged, False)
    written = {"upper case": str.upper, "padding": lambda text: f"{GREETING} {text} {THANKS}"}
    for level, write in written.items():
        after = cases[level].trial.test.embedding
        changed = [write(texts[row]) for row in bench.split.test_prompts[judged].tolist()]
        torch.testing.assert_close(after[judged], encoder.embed(changed), atol=1e-4, rtol=0)
        assert torch.equal(after[others], before[others])
        assert torch.equal(cases[level].judged, judged)
        assert cases[level].trial.calibration is bench.trial.calibration


def test_only_judged_prompts_count(bench: Bench) -> None:
    rows = bench.can_be_judged[:40]
    found = bench.run({"some": Case(bench.trial, rows)})["some"]["zero"]
    estimated, test = bench.estimate("zero", bench.trial)[rows], bench.trial.test.of_prompts(rows)
    truth = Truth(cost=bench.trial.test_cost, error=test.error, observed=test.observed)
    figures = figures_of(Judged(estimated, truth))
    assert found == {key: figures[key] for key in ("area", "mean_squared_error")}


def test_a_method_is_fitted_again_only_where_its_fit_can_differ(bench: Bench, cases: dict[str, Case]) -> None:
    stress_tests.few_calibration_prompts(bench)
    stress_tests.left_out_source(bench)
    stress_tests.wrong_sources(bench)
    kept: dict[str, Any] = {name: bench.method(name, bench.trial) for name in ("kmeans", "end_to_end")}
    assert bench.method("kmeans", cases["wrong sources"].trial) is kept["kmeans"]
    assert bench.method("kmeans", cases["20"].trial) is not kept["kmeans"]
    assert bench.method("end_to_end", cases["20"].trial) is kept["end_to_end"]
    assert bench.method("end_to_end", cases["other sources"].trial) is not kept["end_to_end"]


def test_estimates_are_those_of_a_fresh_fit(bench: Bench, workshop: Path) -> None:
    first = bench.estimate("kmeans", bench.trial)
    bench.method("kmeans", bench.trial).represent(
        bench.trial.with_calibration(bench.split.validation_prompts[:5]).calibration
    )
    again = Bench(bench.config, bench.embedded, SEED)
    assert torch.equal(again.estimate("kmeans", again.trial), first)


def test_gaps_of_k_means_are_those_of_its_nearest_centroids(bench: Bench) -> None:
    levels = stress_tests.proposition_2(bench).levels
    assert list(levels) == sorted(levels, key=int)
    assert {"kmeans", "end_to_end"} == {method for methods in levels.values() for method in methods}
    trial, centroids = bench.trial, bench.trial.tuning.centroids(5)
    nearest = [assign_to_nearest(part.embedding, centroids).argmax(-1) for part in (trial.calibration, trial.test)]
    largest = 0.0
    for llm in range(trial.test.error.shape[1]):
        for k in range(5):
            calibration, test = (
                part.error[(at == k) & part.observed[:, llm], llm]
                for part, at in zip((trial.calibration, trial.test), nearest, strict=True)
            )
            if len(test) >= 20:
                overall = trial.calibration.error[trial.calibration.observed[:, llm], llm].mean()
                psi = calibration.mean() if len(calibration) else overall
                largest = max(largest, abs(float(test.mean() - psi)))
    assert levels["5"]["kmeans"]["max_gap"] == pytest.approx(largest, abs=1e-6)
