"""An archive over a local Ray: skipped where Ray is not installed."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_router import small_router
from tiny_encoder import PROMPTS

from unirouter_torch.archives.score import Scored, score_archive
from unirouter_torch.archives.settings import ScoreSettings
from unirouter_torch.cli import main
from unirouter_torch.errors import ConfigError, DataError
from unirouter_torch.router.router import Router

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

from unirouter_torch.archives.ray_cluster import _answer_of, score_on_ray  # noqa: E402

SETTINGS = ScoreSettings(cost_weight=0.3, batch_size=2)


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    small_router(folder).save_pretrained(folder / "router")
    return folder / "router"


@pytest.fixture
def archive(tmp_path: Path) -> str:
    (tmp_path / "logs").mkdir()
    for number in range(4):
        table = pa.table({"prompt": [f"{prompt} {number}" for prompt in PROMPTS[: number + 1]]})
        pq.write_table(table, tmp_path / "logs" / f"{number}.parquet")
    return str(tmp_path / "logs" / "*.parquet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    # a path of pytest's would be too long for Ray's sockets
    with tempfile.TemporaryDirectory(prefix="ray") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # else Ray writes a token into the home of whoever tests
        patch.setenv("RAY_AUTH_TOKEN", "0" * 64)
        ray.init(
            num_cpus=2,
            num_gpus=0,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=80 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        yield
        ray.shutdown()


def contents(folder: Path) -> dict[str, pa.Table]:
    return {path.name: pq.read_table(path) for path in sorted(folder.glob("*.parquet"))}


@pytest.mark.usefixtures("cluster")
def test_ray_writes_the_same_files_and_keeps_those_that_are_there(
    router: Path, archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score_archive(Router.from_pretrained(router), archive, tmp_path / "alone", SETTINGS)
    done = score_on_ray(str(router), archive, tmp_path / "out", SETTINGS)
    assert done == Scored(num_prompts=10, num_shards=4, num_kept=0)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"_score.json", *(f"{number}.parquet" for number in range(4))}
    assert (tmp_path / "out" / "_score.json").read_text() == (tmp_path / "alone" / "_score.json").read_text()
    (tmp_path / "out" / "2.parquet").unlink()
    kept = (tmp_path / "out" / "3.parquet").stat().st_mtime_ns
    places = ["--router", str(router), "--input", archive, "--output", str(tmp_path / "out")]
    assert main(["route-archive", "--ray", *places, "--cost-weight", "0.3", "--batch-size", "2"]) == 0
    assert "3 prompts in 1 shards; 3 shards were there already" in capsys.readouterr().out
    assert (tmp_path / "out" / "3.parquet").stat().st_mtime_ns == kept
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


@pytest.mark.usefixtures("cluster")
def test_mistake_in_a_shard_comes_back_as_itself(router: Path, archive: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["one", None]}), tmp_path / "logs" / "4.parquet")
    with pytest.raises(DataError, match=r"4\.parquet: row 2 of column 'prompt' is null") as caught:
        score_on_ray(str(router), archive, tmp_path / "out", SETTINGS)
    assert "Traceback" not in str(caught.value)
    assert not (tmp_path / "out" / "4.parquet").exists()


def test_machine_with_another_router_is_refused(router: Path) -> None:
    with pytest.raises(ConfigError, match="finds another router"):
        _answer_of(str(router), "torch", "0" * 64, SETTINGS)
