import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_router import SCORES, small_router
from tiny_encoder import PROMPTS, save_bert, save_static_with_form

from unirouter_torch.archives.score import Scored, Worker, fingerprint, score_archive
from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.errors import ConfigError, DataError, PoolError
from unirouter_torch.router.calibration import TokenPrices
from unirouter_torch.router.router import Router
from unirouter_torch.routing.latency import Latency
from unirouter_torch.routing.pool import LLMPool
from unirouter_torch.routing.target import Target

SETTINGS = ScoreSettings(cost_weight=0.3, batch_size=2)


@pytest.fixture(params=[save_bert, save_static_with_form])
def router(tmp_path: Path, request: pytest.FixtureRequest) -> Router:
    return small_router(tmp_path, save_encoder=request.param)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    (tmp_path / "logs").mkdir()
    for number in range(5):
        prompts = [f"{prompt} {number}" for prompt in PROMPTS[: number + 1]]
        pq.write_table(pa.table({"prompt": prompts}), tmp_path / "logs" / f"{number}.parquet")
    return str(tmp_path / "logs" / "*.parquet")


def contents(folder: Path) -> dict[str, pa.Table]:
    return {path.name: pq.read_table(path) for path in sorted(folder.glob("*.parquet"))}


def test_every_prompt_gets_the_llm_of_the_router(router: Router, archive: str, tmp_path: Path) -> None:
    done = score_archive(router, archive, tmp_path / "out", dataclasses.replace(SETTINGS, all_estimates=True))
    assert done == Scored(num_prompts=15, num_shards=5, num_kept=0)
    for table in contents(tmp_path / "out").values():
        routes = router.route(table["prompt"].to_pylist(), cost_weight=0.3)
        assert table["llm"].to_pylist() == [route.llm for route in routes]
        errors = [route.estimated_error[route.llm] for route in routes]
        assert table["estimated_error"].to_pylist() == pytest.approx(errors, abs=1e-5)
        assert table["estimated_errors"].to_pylist() == [
            pytest.approx(list(route.estimated_error.values()), abs=1e-5) for route in routes
        ]
    assert json.loads((tmp_path / "out" / "_score.json").read_text())["llms"] == list(SCORES)
    assert pq.read_table(tmp_path / "out").num_rows == 15


def test_equal_prompts_of_a_batch_are_embedded_once(
    router: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded: list[str] = []
    tokenize = router.encoder.tokenize_rows
    monkeypatch.setattr(router.encoder, "tokenize_rows", lambda texts: (embedded.extend(texts), tokenize(texts))[1])
    pq.write_table(pa.table({"prompt": ["b", "a", "b", "b", "a", "c"]}), tmp_path / "log.parquet")
    score_archive(router, str(tmp_path / "log.parquet"), tmp_path / "out", dataclasses.replace(SETTINGS, batch_size=5))
    assert embedded == ["b", "a", "c"]
    (table,) = contents(tmp_path / "out").values()
    assert table["llm"].to_pylist() == router.choose(table["prompt"].to_pylist(), cost_weight=0.3)


def test_disabled_llm_gets_no_prompt_and_prices_by_the_token_count(
    router: Router, archive: str, tmp_path: Path
) -> None:
    every = dict.fromkeys(router.calibration.prompt_ids, 1.0)
    router.add_llm("idle", every, 0.0)
    tokens = TokenPrices(price_in=0.0, price_out=100.0, output_tokens=dict.fromkeys(every, 100.0))
    router.add_llm("dear", every, 0.0, tokens=tokens)
    router.pool = router.pool.with_changes("idle", is_available=False)
    score_archive(router, archive, tmp_path / "out", SETTINGS)
    for shard in (tmp_path / "out").glob("*.parquet"):
        table = pq.read_table(shard)
        chosen = table["llm"].to_pylist()
        assert not {"idle", "dear"} & set(chosen)
        assert chosen == [route.llm for route in router.route(table["prompt"].to_pylist(), cost_weight=0.3)]


def test_latency_counts_where_a_weight_asks_for_it(router: Router, archive: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, latency_weight=50.0)
    with pytest.raises(PoolError, match="latency of 'small'"):
        score_archive(router, archive, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()
    for name, seconds in (("small", 1.0), ("large", 0.0), ("other", 1.0)):
        router.pool = router.pool.with_changes(name, latency=Latency(seconds=seconds))
    score_archive(router, archive, tmp_path / "out", settings)
    assert {llm for table in contents(tmp_path / "out").values() for llm in table["llm"].to_pylist()} == {"large"}


def test_without_a_cost_weight_the_target_of_the_router_counts(router: Router, archive: str, tmp_path: Path) -> None:
    plain = fingerprint(router)
    router.pool = dataclasses.replace(router.pool, target=Target(kind="quality", value=0.0))
    assert fingerprint(router) != plain
    score_archive(router, archive, tmp_path / "out", ScoreSettings(batch_size=2))
    for shard in (tmp_path / "out").glob("*.parquet"):
        table = pq.read_table(shard)
        assert table["llm"].to_pylist() == router.choose(table["prompt"].to_pylist())


def test_second_run_keeps_what_is_there(router: Router, archive: str, tmp_path: Path) -> None:
    score_archive(router, archive, tmp_path / "out", SETTINGS)
    (tmp_path / "out" / "3.parquet").unlink()
    (tmp_path / "out" / ".3.parquet.part").write_text("what a killed run left")
    kept = (tmp_path / "out" / "2.parquet").stat().st_mtime_ns
    done = score_archive(router, archive, tmp_path / "out", SETTINGS)
    assert done == Scored(num_prompts=4, num_shards=1, num_kept=4)
    assert (tmp_path / "out" / "2.parquet").stat().st_mtime_ns == kept
    score_archive(router, archive, tmp_path / "again", SETTINGS)
    assert contents(tmp_path / "out") == contents(tmp_path / "again")
    assert not list((tmp_path / "out").glob(".*"))
    assert score_archive(router, archive, tmp_path / "out", dataclasses.replace(SETTINGS, batch_size=3)).num_kept == 5


def test_workers_share_the_shards(router: Router, archive: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert score_archive(router, archive, tmp_path / "out", SETTINGS).num_shards == 2
    assert list(contents(tmp_path / "out")) == ["1.parquet", "3.parquet"]
    done = score_archive(router, archive, tmp_path / "out", SETTINGS, Worker(number=0, count=2))
    assert done == Scored(num_prompts=9, num_shards=3, num_kept=0)
    score_archive(router, archive, tmp_path / "alone", SETTINGS, Worker(number=0, count=1))
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_shards_of_another_router_or_setting_are_not_mixed(router: Router, archive: str, tmp_path: Path) -> None:
    score_archive(router, archive, tmp_path / "out", SETTINGS)
    with pytest.raises(ConfigError, match=r"another cost_weight \(_score\.json\)"):
        score_archive(router, archive, tmp_path / "out", dataclasses.replace(SETTINGS, cost_weight=0.2))
    router.add_llm("new", {"p0": 1.0}, 0.1)
    with pytest.raises(ConfigError, match="another router and llms"):
        score_archive(router, archive, tmp_path / "out", SETTINGS)


def test_fingerprint_follows_all_that_decides_a_choice(router: Router, tmp_path: Path) -> None:
    first = fingerprint(router)
    router.save_pretrained(tmp_path / "saved")
    assert fingerprint(Router.from_pretrained(tmp_path / "saved")) == first
    pool = router.pool
    router.pool = dataclasses.replace(pool, reference_cost=3.0)
    assert fingerprint(router) != first
    router.pool = pool.with_changes("small", name="a")
    assert fingerprint(router) != first
    router.pool = pool
    router.head.difficulty.data += 1
    assert fingerprint(router) != first
    router.head.difficulty.data -= 1
    next(router.encoder.parameters()).data[0] += 1
    assert fingerprint(router) != first


def test_shard_that_has_changed_since_is_refused(router: Router, archive: str, tmp_path: Path) -> None:
    score_archive(router, archive, tmp_path / "out", SETTINGS)
    pq.write_table(pa.table({"prompt": ["one", "two"]}), tmp_path / "logs" / "0.parquet")
    with pytest.raises(DataError, match=r"0\.parquet: made from 1 prompts, but its shard has 2 now"):
        score_archive(router, archive, tmp_path / "out", SETTINGS)


def test_folder_of_something_else_is_left_alone(router: Router, archive: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds files, but no _score\.json"):
        score_archive(router, archive, tmp_path / "out", SETTINGS)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (dataclasses.replace(SETTINGS, cost_weight=-1.0), PoolError, "cost_weight"),
        (dataclasses.replace(SETTINGS, column="text"), DataError, "no column 'text'"),
    ],
)
def test_mistakes_show_before_anything_is_written(
    router: Router, archive: str, tmp_path: Path, settings: ScoreSettings, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        score_archive(router, archive, tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_batches_hold_a_prompt_at_least() -> None:
    with pytest.raises(ConfigError, match="batch_size: got 0"):
        ScoreSettings(batch_size=0)


def test_router_without_llms_is_refused(router: Router, archive: str, tmp_path: Path) -> None:
    router.pool = LLMPool.empty(3)
    with pytest.raises(PoolError, match="unirouter adopt"):
        score_archive(router, archive, tmp_path / "out", SETTINGS)
