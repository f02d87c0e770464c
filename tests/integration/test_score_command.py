"""The score command on a small archive, killed and resumed."""

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unirouter_torch.cli import main
from unirouter_torch.config.training import TrainConfig
from unirouter_torch.experiments.run import RunResult

NUM_SHARDS = 4


@pytest.fixture(scope="module")
def folder(config: TrainConfig, result: RunResult) -> Path:
    assert result.router.pool.names
    return Path(config.output_dir) / "router"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("logs")
    for shard in range(NUM_SHARDS):
        prompts = [f"otter {shard} {number}" for number in range(300)]
        pq.write_table(pa.table({"text": prompts}), place / f"{shard}.parquet")
    return str(place / "*.parquet")


def test_logged_conversations_are_routed_by_their_last_question(folder: Path, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Add 1 and 2."}, {"role": "assistant", "content": "3"}]
    pq.write_table(pa.table({"text": [[{"role": "system", "content": "Hm."}, *chat]]}), tmp_path / "chats.parquet")
    pq.write_table(pa.table({"text": ["Add 1 and 2."]}), tmp_path / "texts.parquet")
    for name in ("chats", "texts"):
        assert main(arguments(folder, str(tmp_path / f"{name}.parquet"), tmp_path / name)) == 0
    chats, texts = (pq.read_table(tmp_path / name / f"{name}.parquet") for name in ("chats", "texts"))
    assert chats.drop_columns("text").equals(texts.drop_columns("text"))


def arguments(folder: Path, archive: str, output: Path) -> list[str]:
    places = ["--router", str(folder), "--input", archive, "--output", str(output)]
    return ["route-archive", *places, "--column", "text", "--cost-weight", "0.2"]


KILLED_IN_THE_SECOND_SHARD = """
import os, signal, sys
from unirouter_torch.archives import score
from unirouter_torch.cli import main

answer_shard = score.answer_shard

def until_the_second(shard, target, column, batch_size, answer, rule):
    def killed(prompts):
        if prompts and target.name == "1.parquet":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer(prompts)

    answer_shard(shard, target, column, batch_size, killed, rule)

score.answer_shard = until_the_second
main(sys.argv[1:])
"""


def test_killed_run_goes_on_where_it_was_and_ends_the_same(
    folder: Path, archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", KILLED_IN_THE_SECOND_SHARD, *arguments(folder, archive, tmp_path / "killed")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert list((tmp_path / "killed").glob(".*"))
    written = {path.name for path in (tmp_path / "killed").glob("*.parquet")}
    assert written == {"0.parquet"}
    assert main(arguments(folder, archive, tmp_path / "killed")) == 0
    assert f"{len(written)} shards were there already" in capsys.readouterr().out
    assert main(arguments(folder, archive, tmp_path / "whole")) == 0
    for shard in range(NUM_SHARDS):
        resumed, whole = (pq.read_table(tmp_path / run / f"{shard}.parquet") for run in ("killed", "whole"))
        assert resumed.drop_columns("estimated_error").equals(whole.drop_columns("estimated_error"))
        assert resumed["estimated_error"].to_pylist() == pytest.approx(whole["estimated_error"].to_pylist(), abs=1e-6)
    assert not list((tmp_path / "killed").glob(".*"))


def test_mistakes_give_one_message_and_code_2(
    folder: Path, archive: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments(folder, archive, tmp_path / "out")
    mistakes = {
        "no file matches": ["--input", str(tmp_path / "*.parquet")],
        "it has text": ["--column", "prompt"],
        "expected a finite number": ["--cost-weight", "nan"],
        "unirouter adopt": ["--router", "unirouter-minilm"],
    }
    for message, change in mistakes.items():
        assert main([*given, *change]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_without_ray_the_command_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "unirouter_torch.archives.ray_cluster", raising=False)
    assert main(["route-archive", "--ray", "--router", "r", "--input", "i", "--output", str(tmp_path / "out")]) == 2
    assert "Ray is not installed. Run `pip install 'unirouter_torch[ray]'`." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
